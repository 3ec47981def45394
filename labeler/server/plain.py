"""Light pages without a script: joining, and what somebody sees of themselves."""

import hashlib
import html
from base64 import b64encode
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from labeler.errors import Blocked, LabelerError, status_of
from labeler.server.guard import Refusal
from labeler.tongue import Words

Handler = Callable[[Request], Awaitable[Response]]
STYLE = (
    ":root{color-scheme:light dark;--bg:#f4f5f7;--face:#fff;--ink:#151a21;--soft:#5b6472;--line:#dce1e8;"
    "--go:#0b6bcb}"
    "@media (prefers-color-scheme:dark){:root{--bg:#0d1014;--face:#191e26;--ink:#edf1f6;--soft:#a3adbb;"
    "--line:#2c333e;--go:#1b74cf}}"
    "*{box-sizing:border-box}"
    "body{margin:0;min-height:100dvh;display:grid;place-content:safe center;gap:16px;"
    "grid-template-columns:minmax(0,26rem);padding:24px 18px;background:var(--bg);color:var(--ink);"
    "font:1rem/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "main,section{background:var(--face);border:1px solid var(--line);border-radius:18px;padding:24px 22px}"
    "h1{font-size:1.5rem;line-height:1.25;margin:0 0 12px;overflow-wrap:anywhere}"
    "h2{font-size:1.0625rem;margin:0 0 6px}p{margin:0 0 12px;color:var(--soft)}"
    "p:last-child{margin-bottom:0}.lead{margin:0 0 4px}.trouble{color:#b3261e;font-weight:600}"
    "@media (prefers-color-scheme:dark){.trouble{color:#ff9d93}}"
    "form{display:grid;gap:12px;margin:0 0 12px}form:last-child{margin:0}"
    "label{display:grid;gap:4px;font-size:.875rem;color:var(--soft)}"
    "input{font:inherit;font-size:1.125rem;color:var(--ink);background:var(--bg);min-height:52px;"
    "padding:0 14px;border:1px solid #7b8494;border-radius:13px;width:100%}"
    "button,.btn{font:inherit;font-weight:650;min-height:52px;padding:0 18px;border:0;border-radius:13px;"
    "cursor:pointer;background:var(--go);color:#fff;display:grid;place-items:center;text-decoration:none}"
    "button.soft{background:none;border:1px solid #7b8494;color:var(--ink)}"
    ":focus-visible{outline:3px solid var(--go);outline-offset:2px}"
    ".qr{display:block;width:min(100%,15rem);margin:0 auto 12px;background:#fff;border-radius:12px}"
    ".choices{display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(8rem,1fr))}"
    ".aside{text-align:center;font-size:.9375rem}"
    ".aside a{color:inherit;display:inline-block;padding:10px 4px}"
    "progress{width:100%;height:10px;accent-color:var(--go);margin:0 0 12px}"
    "form.row{grid-template-columns:1fr auto;align-items:end}h2:not(:first-child){margin-top:24px}"
    ".board{margin:0 0 18px;padding:0;list-style:none;counter-reset:n}"
    ".board li{display:grid;grid-template-columns:2rem 1fr auto;gap:8px;padding:10px 0;counter-increment:n;"
    "border-bottom:1px solid var(--line);overflow-wrap:anywhere}"
    ".board li::before{content:counter(n);color:var(--soft)}"
    ".tile{display:block;width:100%;border-radius:12px;margin:12px 0}"
    ".two{display:grid;grid-template-columns:1fr 1fr;gap:12px}.two>:first-child{background:#b84a00}"
    "button span{display:block}button span::first-letter{text-transform:uppercase}"
    "code{display:block;overflow-wrap:anywhere;font-size:.875rem;padding:10px 12px;border-radius:10px;"
    "background:var(--bg);border:1px solid var(--line);user-select:all}"
    "small{color:var(--soft);font-size:.8125rem}"
)
POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}';"
    " img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def words_for(request: Request) -> Words:
    """Return the words in the language of whoever asks."""
    return Words(request.headers.get("accept-language", ""))


def page(words: Words, title: str, *parts: str, status: int = 200) -> Response:
    """Return a page. parts: HTML, in which everything from people or files has been escaped."""
    body = (
        f'<!doctype html><html lang="{words.language}"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="robots" content="noindex">'
        f'<meta name="referrer" content="same-origin"><link rel="icon" href="data:,"><style>{STYLE}</style>'
        f"{''.join(parts)}"
    )
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Vary": "Accept-Language"}
    return HTMLResponse(body, status, headers={**headers, "Content-Language": words.language})


def answered(handler: Handler) -> Handler:
    """Return the handler of a page that also answers what goes wrong: as a page, or as JSON to a program."""

    async def run(request: Request) -> Response:
        try:
            return await handler(request)
        except Refusal as e:
            status, error, do, wait_s = e.status_code, e.error, e.do, e.wait_s
        except LabelerError as e:
            status, error, do, wait_s = (
                status_of(e),
                e.error,
                e.do,
                e.wait_s if isinstance(e, Blocked) else None,
            )
        words = words_for(request)
        error, do = words.said(error), words.said(do)
        headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"error": error, "do": do}, status, {"Vary": "Accept-Language"} | headers)
        told = page(words, error, f"<main><h1>{text(error)}</h1><p>{text(do)}</main>", status=status)
        told.headers.update(headers)
        return told

    return run


def whole(value: str | None) -> int | None:
    """Return a number as it stands in an address or a form; None for what is none."""
    if not value or not value.isascii() or not value.isdecimal() or len(value) > 15:
        return None
    return int(value)


def text(value: str) -> str:
    """Return text as HTML that shows it as it is."""
    return html.escape(value)


def qr(url: str) -> str:
    """Return an image of an address that a phone's camera reads."""
    import segno

    data = segno.make(url, error="m").svg_data_uri(scale=8, border=4, omitsize=True)
    return f'<img class="qr" alt="" src="{html.escape(data)}">'
