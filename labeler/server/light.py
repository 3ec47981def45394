"""The light page, the files of the deck, and the description of the interface."""

import gzip
import hashlib
import html
import json
import re
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labeler.server.guard import STRICT
from labeler.server.plain import words_for
from labeler.tongue import DEFAULT, Words

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

FOLDER = Path(__file__).parent.parent / "deck"
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}
KEEPER = "keeper.js"  # the service worker
MANIFEST = "labeler.webmanifest"
SPOKEN = (KEEPER, MANIFEST)  # another one in each language
SHELL = ("deck.js", "pack.js", "take.js", "icon.svg")  # with the page: what the deck needs without a network
KEPT = 'const [MARK, FILES] = ["", []];'  # in the service worker: where these are filled in
CSS_MARKS = ("; ", ": ", ", ", " {", "{ ", " }", " > ")
JS_MARKS = (
    *("; ", ": ", ", ", ") {", " => ", "{ ", " }", " = ", " ? ", " && ", " || ", " : ", " === ", " !== "),
    *(" < ", " > ", " <= ", " >= ", " += ", " ?? ", " * ", " ??= ", " ||= "),
)
TEXT = re.compile(r"""("[^"]*"|'[^']*'|`[^`]*`)""")
UNCLEAR = re.compile(r"""["'`/\\]""")
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "pre{overflow:auto;padding:.7rem;background:#8882}h2{margin-top:2.5rem;font-size:1.1rem}"
    ":root{color-scheme:light dark}"
)


@cache
def _assets(language: str = DEFAULT) -> dict[str, tuple[bytes, str]]:
    """Return {name: (bytes, version)} of what may be fetched under /deck/; read once."""
    out = {}
    words = Words(language)
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES and path.name != KEEPER:
            data = path.read_bytes() if path.name != MANIFEST else _manifest(path, words)
            out[path.name] = (
                _lean(data, path.suffix) if path.suffix in (".js", ".css") else data,
                _version(data),
            )
    data = _keeper({name: version for name, (_, version) in out.items()}, out["deck.css"][0], words)
    out[KEEPER] = data, _version(data)
    return out


def address(name: str) -> str:
    """Return where a file of the deck's folder is, as a page beside that folder names it."""
    return f"deck/{name}?v={_assets()[name][1]}"


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _manifest(path: Path, words: Words) -> bytes:
    """Return what a phone is told that installs the page, in a language."""
    told = json.loads(path.read_text("utf-8"))
    told |= {"name": words("light.manifest.name"), "description": words("light.manifest.about")}
    return json.dumps(told | {"lang": words.language}, ensure_ascii=False, indent=1).encode()


def _keeper(versions: dict[str, str], style: bytes, words: Words) -> bytes:
    """Return the service worker. It names what it keeps by its content: when that changes, it is another.

    So it is where somebody's browser changes its language: the page is kept anew then.
    """
    kept = [f"{name}?v={versions[name]}" for name in SHELL]
    mark = _version((_filled(versions, style, words) + json.dumps(kept)).encode())
    text = (FOLDER / KEEPER).read_text("utf-8")
    assert KEPT in text
    return _lean(text.replace(KEPT, f"const [MARK, FILES] = {json.dumps([mark, kept])};").encode(), ".js")


def _lean(data: bytes, kind: str) -> bytes:
    """Return a script or style without comment lines, indentation and spare spaces: a quarter less to send.

    Text in a line of a script keeps its spaces, and so does a whole line where it is not clear what is text.
    """
    lines = (line.strip() for line in data.decode().splitlines())
    comments = ("//", "/*", "* ", "*/")
    kept = [line for line in lines if line and line != "*" and not line.startswith(comments)]
    if kind == ".css":
        return _close_up("".join(kept), CSS_MARKS).replace(";}", "}").encode()
    return "".join(map(_ended, map(_close_line, kept))).encode()


def _ended(line: str) -> str:
    """Return a line of a script with the end that it needs: none after a mark that nothing has to end."""
    return line if line[-1] in "{([,;" and "//" not in line else f"{line}\n"


def _close_line(line: str) -> str:
    """Return a line of a script without spare spaces; as it is where patterns or nested texts may be."""
    parts = TEXT.split(line)  # code and text in turn
    nested = any(part.count("${") != part.count("}") for part in parts[1::2] if part[0] == "`")
    if nested or "\\" in line or any(UNCLEAR.search(code) for code in parts[::2]):
        return line
    parts[::2] = [_close_up(code, JS_MARKS) for code in parts[::2]]
    return "".join(parts)


def _close_up(text: str, marks: tuple[str, ...]) -> str:
    """Return text without the spaces around these marks."""
    for mark in marks:
        text = text.replace(mark, mark.strip())
    return text


@cache
def _page(language: str) -> str:
    """Return the light page without a card, the version of each of its files in its address."""
    assets = _assets(language)
    versions = {name: version for name, (_, version) in assets.items()}
    return _filled(versions, assets["deck.css"][0], Words(language))


def _filled(versions: dict[str, str], style: bytes, words: Words) -> str:
    """Return the page with its style and the deck's words inside: it waits for no other file to say them."""
    text = (FOLDER / "deck.html").read_text("utf-8")
    for name, version in versions.items():
        text = text.replace(f'"deck/{name}"', f'"deck/{name}?v={version}"')
    text = "\n".join(line.strip() for line in text.splitlines())
    told = json.dumps(words.part("deck."), ensure_ascii=False, separators=(",", ":"))
    told = told.replace("&", "&amp;").replace("'", "&#39;").replace("<", "&lt;")  # between single quotes
    text = text.replace("<!--noscript-->", html.escape(words("light.noscript"), quote=False))
    text = text.replace('lang="en"', f'lang="{words.language}"').replace("<!--words-->", told)
    return text.replace("<!--style-->", style.decode())


@cache
def _policy() -> str:
    """Return what the light page may do: what every page of ours may, and its own style."""
    style = _assets()["deck.css"][0]
    mark = b64encode(hashlib.sha256(style).digest()).decode()
    return STRICT.replace("style-src 'self'", f"style-src 'self' 'sha256-{mark}'")


@cache
def _packed(data: bytes) -> bytes:
    return gzip.compress(data, 9)


def _send(
    request: "Request", data: bytes, packed: Callable[[bytes], bytes], headers: dict[str, str]
) -> "Response":
    """Return text, packed for browsers that can unpack it: a third of the bytes on a slow phone."""
    from starlette.responses import Response

    headers = {"Vary": "Accept-Encoding"} | headers
    if "gzip" in request.headers.get("accept-encoding", ""):
        data, headers = packed(data), headers | {"Content-Encoding": "gzip"}
    return Response(data, headers=headers)


def page(request: "Request", picture: str | None = None, start: str = "") -> "Response":
    """Return the light page. picture: the address of its first one. start: what its deck begins with."""
    first = ""
    if picture is not None:
        first = f'<link rel="preload" as="image" href="{html.escape(picture)}" fetchpriority="high">'
    language = words_for(request).language
    text = _page(language).replace("<!--first-->", first).replace("<!--start-->", start)
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Language": language,
        "Vary": "Accept-Encoding, Accept-Language",
        "Content-Security-Policy": _policy(),
        "Cache-Control": "private, no-cache",
    }
    if picture is not None:  # a slow phone asks for both before it has read the page
        script = f"<deck/deck.js?v={_assets()['deck.js'][1]}>; rel=modulepreload"
        headers["Link"] = f"<{picture}>; rel=preload; as=image; fetchpriority=high, {script}"
    return _send(request, text.encode(), gzip.compress if start else _packed, headers)


async def deck_file(request: "Request") -> "Response":
    """Return a file of the deck: kept for good when asked for by its version."""
    from starlette.responses import JSONResponse, Response

    name = request.path_params["name"]
    language = words_for(request).language if name in SPOKEN else DEFAULT
    found = _assets(language).get(name)
    if found is None:
        return JSONResponse({"error": "There is no such file.", "do": "Open /swipe."}, 404)
    data, version = found
    keep = request.query_params.get("v") == version
    headers = {
        "ETag": f'"{version}"',
        "Cache-Control": "private, max-age=31536000, immutable" if keep else "no-cache",
    }
    if name in SPOKEN:
        headers |= {"Content-Language": language, "Vary": "Accept-Encoding, Accept-Language"}
    if f'"{version}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = TYPES[Path(name).suffix]
    if name == KEEPER:  # what it may look after, from its own place on: the light page beside its folder
        headers["Service-Worker-Allowed"] = "../swipe"
    return _send(request, data, _packed, headers)


def docs_page(openapi: dict[str, Any]) -> "Response":  # Any: an OpenAPI document
    """Return the OpenAPI description as a page that needs no script and no network."""
    from starlette.responses import HTMLResponse

    info = openapi["info"]
    parts = [f"<h1>{html.escape(info['title'])}</h1><p>{html.escape(info['description'])}"]
    parts.append('<p>The same for machines: <a href="openapi.json">openapi.json</a>.')
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(f"{method.upper()} /api{path}", operation))
    schemas = openapi.get("components", {}).get("schemas", {})
    for name, schema in schemas.items():
        parts.append(f'<h2 id="{html.escape(name)}">{html.escape(name)}</h2>{_pre(schema)}')
    style = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>labeler: the interface</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>{"".join(parts)}'
    )
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'"
    return HTMLResponse(body, headers={"Content-Security-Policy": policy})


def _operation(title: str, operation: dict[str, Any]) -> str:  # Any: part of an OpenAPI document
    text = f"<h2>{html.escape(title)}</h2><p>{html.escape(operation.get('description', ''))}"
    for p in operation.get("parameters", []):
        about = p.get("description", "") + (" Required." if p.get("required") else "")
        text += f"<p><code>{html.escape(p['in'])} {html.escape(p['name'])}</code> {html.escape(about)}"
    if "requestBody" in operation:
        text += "<p>Body" + _pre(operation["requestBody"]["content"])
    for status, answer in operation.get("responses", {}).items():
        text += f"<p>{html.escape(status)} {html.escape(answer.get('description', ''))}"
        if status < "300" and "content" in answer:
            text += _pre(answer["content"]["application/json"]["example"])
    return text


def _pre(value: object) -> str:
    return f"<pre>{html.escape(json.dumps(value, indent=1))}</pre>"
