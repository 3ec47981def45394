"""Every word that people see is in a table, one for each language; the browser chooses."""

import ast
import errno
import html
import json
import os
import re
import shutil
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import expect

from benchmarks.server import Client, running
from labeler import database, demo, loop, people, tongue, tutorial
from labeler.domain import LabelEvent
from labeler.server import light
from labeler.tongue import Words, choose, tables
from tests.pools import make_pool
from tests.served import answer, served, visit
from tests.test_deck import PHONE, READY, comes_true, draw, until
from tests.test_joining import joined, phone
from tests.test_light import forget, opened

ROOT = Path(__file__).parent.parent
DECK = ROOT / "labeler" / "deck"
NAMES = re.compile(r"\{(\w+)\}")
SPANISH = {"accept-language": "es-ES,es;q=0.9,en;q=0.8"}

# the tables ------------------------------------------------------------------------------------


def test_every_table_has_the_same_keys_and_the_same_names_in_braces():
    english = tables()["en"]
    assert {"en", "es"} <= tables().keys()
    for language, table in tables().items():
        assert table.keys() == english.keys(), language
        for key, text in table.items():
            assert set(NAMES.findall(text)) == set(NAMES.findall(english[key])), (language, key)
            assert text.strip(), (language, key)
            assert len(text.split("|")) <= 2, (language, key)
            for at in (0, -1):  # a text goes on after another, or does not, in every language
                assert text[at].isspace() == english[key][at].isspace(), (language, key)


def test_a_table_holds_each_key_once_and_in_groups():
    for path in tongue.FOLDER.glob("*.json"):
        pairs = json.loads(path.read_text("utf-8"), object_pairs_hook=lambda pairs: pairs)
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys))
        for group in ("deck", "grid", "start", "found", "team", "wording", "said"):
            mine = [key for key in keys if key.startswith(f"{group}.")]
            assert mine == sorted(mine)
            assert keys[keys.index(mine[0]) :][: len(mine)] == mine


def test_spanish_says_nothing_in_english():
    same = {key for key, text in tables()["es"].items() if text == tables()["en"][key]}
    assert same == {
        "deck.answer.no", "deck.certificate" if "deck.certificate" in same else "export.csv", "export.csv",
        "export.done", "nav.home",
    }  # fmt: skip


@pytest.mark.parametrize("n", [0, 1, 2, 1200])
def test_a_number_of_things_is_said_in_the_right_form(n):
    many = {0: "0", 1: "1", 2: "2", 1200: "1,200"}[n]
    assert Words("en").count("deck.said", n, word="Yes") == f"Yes. {many} image{'s' * (n != 1)} answered."
    s = "s" * (n != 1)
    thing = "imagen" if n == 1 else "imágenes"
    assert Words("es").count("deck.said", n, word="Sí") == f"Sí. {many} {thing} respondida{s}."


# what modules say in English -----------------------------------------------------------------------


def sentences():
    """Return all text in the program, with {} for what is filled in."""
    found = set()
    for path in [*(ROOT / "labeler").rglob("*.py"), *(ROOT / "active").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
                found.add("".join(map(str, parts)))
    return found


CHANGED = {  # made of two parts in the program
    "said.doubt.same", "said.encoder.deaf", "said.encoder.deaf.network",
    "said.encoder.weights.none", "said.encoder.weights.only", "said.picture.the",
    "said.process", "said.taking.vectors", "said.training.nothing", "said.words", "said.written.example",
    "said.written.file", "said.written.folder", "said.written.query",
}  # fmt: skip
SYSTEM = "said.disk."  # what the system says of a disk


def in_parts(text):
    """Return a text and each of its sentences."""
    return [text, *tongue.END.split(text)]


def test_each_sentence_that_is_translated_is_one_that_the_program_says():
    there = {part for text in sentences() for part in in_parts(text)}
    there |= {f"{{}} {error}." for error, _ in database.TROUBLE.values()}
    missing = {
        key
        for key, text in tables()["en"].items()
        if key.startswith("said.") and NAMES.sub("{}", text) not in there
    }
    assert {key for key in missing if not key.startswith(SYSTEM)} == CHANGED
    said = {os.strerror(number) for number in errno.errorcode}
    if sys.platform == "linux":  # others put it in other words; what is unknown stays as it is
        assert {text for key, text in tables()["en"].items() if key.startswith(SYSTEM)} <= said


COMMANDS = {  # modules whose sentences only commands, the log or programs meet
    *("archive", "backup", "begun", "certify", "child", "cli", "config", "demo", "doctor", "drives"),
    *("gilding", "gold", "hub", "identity", "inviting", "keeping", "lessons", "opening", "options", "places"),
    *("proof", "reach", "reaching", "restore", "say", "school", "schooling", "seeing", "seeking", "serving"),
    *("simulate", "spoken", "trial", "truth", "trying", "views", "waiting", "workroom"),
    *("api", "connection", "examples", "light", "sockets", "tiles", "wire"),  # of the server
}  # fmt: skip
LEFT = {  # of other modules
    "{} is no encoder of this workspace.", "{} is in use.", "Start with another --encoder first.",
    "{} holds no image model (no config.json).",
    "Give builtin, a folder saved by transformers, or a name on the hub (owner/name) to --encoder.",
    "There is nobody called {}.",
    *("The database says: {}.", "{} vectors are noted for {} items."),
    "{} holds {} vectors where {} are noted. Run: labeler index.",
    "{} holds vectors that are not of length 1.",
    # requests that no page makes
    *("The event id {} is used already.", "Send a new one.", "The request has two {} headers.", "Send one."),
    *("The deck says that it holds {} cards.", "Name at most {}.", "See /api/docs."),
    *("It is not clear what to change.", 'Send {"add": name} or {"rename": old, "to": new}.'),
    *("The pictures are missing.", "Send multipart/form-data, in fields named image."),
    *("The embedding has no direction.", "Give finite numbers, not all of them zero."),
    # made of two: said below
    *("{} {}.", "{}; then try again.", "{} The vectors of {} images are missing: {} MB."),
    "{} knows pictures only. Choose one that reads text too, like CLIP or SigLIP.",
    "{} holds no weights in the safetensors format{}.",
    "{}: {}.",  # a name, and what is said of it
    *(loop.QUESTION, "The target when left out."),
}  # fmt: skip


def spoken(text):
    """Return the sentences for people in a module, with {} for what is filled in."""
    tree, out = ast.parse(text), set()
    for node in ast.walk(tree):
        is_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_log = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.")
        is_api = isinstance(node, ast.keyword) and node.arg == "description"
        if is_doc or is_log or is_api or isinstance(node, ast.JoinedStr):
            out |= {part for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if node in out:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            said = node.value
        elif isinstance(node, ast.JoinedStr):
            said = "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        else:
            continue
        if re.match(r"(?!SELECT|UPDATE|DELETE|INSERT|WHERE|PRAGMA)([A-Z]|\{\})", said) and re.search(
            r" .*[.?]\Z|[a-z]: {}\Z", said, re.DOTALL
        ):
            yield said


def is_told(said):
    return Words("es").told(said.replace("{}", "7")) is not None


SAYING = [
    path
    for path in sorted([*(ROOT / "labeler").rglob("*.py"), *(ROOT / "active" / "embedding").glob("*.py")])
    if path.stem not in COMMANDS
]


@pytest.mark.parametrize("path", SAYING, ids=lambda path: path.stem)
def test_each_sentence_that_a_page_may_show_is_in_the_tables(path):
    assert [said for said in spoken(path.read_text("utf-8")) if said not in LEFT and not is_told(said)] == []


def test_the_search_for_sentences_finds_them_and_nothing_is_left_out_in_vain():
    text = '''
def look(path):
    """It is read."""
    log.warning("A log says %s.", path)
    if not path:
        raise BadInput(f"The file {path} is no path.", "Give one.")
    error = "It is gone. Look elsewhere."
    conn.execute("SELECT 1 FROM items.")
    return f"{path} can't be {error}."
'''
    found = ["The file {} is no path.", "Give one.", "It is gone. Look elsewhere.", "{} can't be {}."]
    assert sorted(spoken(text)) == sorted(found)
    there = {said for path in SAYING for said in spoken(path.read_text("utf-8"))}
    assert {said for said in LEFT if said not in there or is_told(said)} == set()
    modules = [path.stem for name in ("labeler", "active/embedding") for path in (ROOT / name).rglob("*.py")]
    assert set(modules) >= COMMANDS


@pytest.mark.parametrize(
    ("english", "spanish"),
    [
        ("There is nothing to undo.", "No hay nada que deshacer."),
        ("Wait 30 s.", "Espera 30 s."),
        ("b.png: The picture can't be used: The file is empty.",
         "b.png: La imagen no se puede usar: El archivo está vacío."),
        ("Gave “yes” 40 times of 41; to the same images others would 3.2 times.",
         "Respondió «sí» 40 veces de 41; ante las mismas imágenes otras personas lo harían 3.2 veces."),
        ("Something that no table knows: 7.", "Something that no table knows: 7."),
        ("Learning stopped (exit code -9). The deck goes on; it is started again.",
         "El aprendizaje se detuvo (código de salida -9). Las tarjetas siguen; se vuelve a iniciar."),
        ("Learning failed (KeyError: 'a: b. C'). The deck goes on; see the server's log.",
         "Falló el aprendizaje (KeyError: 'a: b. C'). Las tarjetas siguen; mira el registro del servidor."),
        ("ws/labeler.db can't be written: the disk is full. Free some space; then try again.",
         "No se puede escribir ws/labeler.db: el disco está lleno. Libera espacio e inténtalo de nuevo."),
        ("The file a.f32 can't be written: No space left on device. Free some space; then try again."
         " The vectors of 1,000 images are missing: 12 MB.",
         "No se puede escribir el archivo a.f32: no queda espacio en el disco. Libera espacio e inténtalo de"
         " nuevo. Faltan los vectores de 1,000 imágenes: 12 MB."),
        ("The encoder /m can't be used: The device cuda can't be used: torch sees no CUDA device here."
         " Give auto or cpu. Give another one with --encoder.",
         "El codificador /m no se puede usar: El dispositivo cuda no se puede usar: torch no ve aquí ningún"
         " dispositivo CUDA. Indica auto o cpu. Indica otro con --encoder."),
        ("/w/exports/1 can't be written: Permission denied (/w/exports/1/a.csv).",
         "No se puede escribir /w/exports/1: no hay permiso (/w/exports/1/a.csv)."),
        ("/p holds no images any more. Is its disk connected? Or give another folder with --images.",
         "/p ya no contiene imágenes. ¿Está conectado su disco? Si no, indica otra carpeta con --images."),
        ("Process 7 works on /w already (index). Stop it first, or wait for it.",
         "El proceso 7 ya trabaja en /w (index). Detenlo antes o espera a que termine."),
        ("The encoder builtin knows pictures only. Choose one that reads text too, like CLIP or SigLIP.",
         "El codificador builtin solo entiende imágenes. Elige uno que también lea texto, como CLIP o"
         " SigLIP."),
        ("The weights are blue. Try again.", "The weights are blue. Inténtalo de nuevo."),
        ("The file is gone. The moon too.", "El archivo ya no está. The moon too."),
        ("There is no folder /a/Dr. Who.", "No existe la carpeta /a/Dr. Who."),
        ("The loss is no longer a number. Try a smaller --rate. No encoder was written.",
         "La pérdida ya no es un número. Prueba con un --rate menor. No se escribió ningún codificador."),
        ("In a: " * 400, "In a: " * 400),  # nobody's sentence, and not taken apart
        ("", ""),
    ],
)  # fmt: skip
def test_a_sentence_is_said_in_the_readers_language_where_the_table_has_it(english, spanish):
    assert Words("es").said(english) == spanish
    assert Words("en").said(english) == english


def test_what_is_wrong_with_the_database_is_told_in_spanish():
    for error, do in database.TROUBLE.values():
        said = f"ws/labeler.db {error}."
        told = Words("es").both(said, do)
        assert "ws/labeler.db" in told
        assert not ENGLISH.search(told.replace("docs/workspace.md", "").replace("labeler", "")), told
        assert Words("es").said(f"{said} {do}") == told, "as the worker notes it"


def test_reasons_of_many_files_are_told_at_once():
    tongue._said.cache_clear()
    begun = time.perf_counter()
    for i in range(500):
        Words("es").said(f"The image has {i} × 7 pixels; at most 200 megapixels are read.")
    assert time.perf_counter() - begun < 0.1  # as measured: 5 ms


def test_errors_come_in_the_language_of_whoever_asks(tmp_path, monkeypatch):
    ws = make_pool(tmp_path, 5)
    loop.learn(ws, loop.start_session(ws, "Is it?", ("yes", "no"), "find"))
    with served(ws, monkeypatch, shared=True) as (app, _):
        owner, stranger = visit(app), visit(app, peer="10.0.0.7", url="http://10.0.0.1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("labeler.door.Door.is_owner", lambda self, direct: direct)
            undo = {"id": "6f3b4c1e-0c1f-4b57-9a53-2c8c6a3c1d10"}
            refused = owner.post("/api/undo", json=undo, headers=SPANISH)
            assert (refused.status_code, refused.json()["error"]) == (409, "No hay nada que deshacer.")
            assert "Accept-Language" in refused.headers["vary"]
            assert owner.post("/api/undo", json=undo).json()["error"] == "There is nothing to undo."
            told = owner.post("/api/labels", json={"events": [answer(99)]}, headers=SPANISH).json()
            assert [one["why"] for one in told["rejected"]] == ["No existe la imagen 99."]
        page = stranger.get("/swipe", headers=SPANISH | {"accept": "text/html"})
        assert page.status_code == 401
        assert '<html lang="es">' in page.text
        assert "Este servidor necesita su enlace." in page.text
        assert page.headers["vary"] == "Accept-Language"
        program = stranger.get("/api/session", headers=SPANISH)
        assert program.json()["error"] == "Este servidor necesita su enlace."
    ws.close()


# nothing is left in the scripts and pages -----------------------------------------------------------

LITERAL = re.compile(r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)""")
COMMENT = re.compile(r"/\*.*?\*/|(?<![\w:\"'`*])//[^\n]*", re.DOTALL)
FILLED = re.compile(r"\$\{[^{}]*\}")
SENTENCE = re.compile(r"[A-Za-z’']{2,}[,:;]? [A-Za-z’']{2,}|^[A-Z][a-z]+\b|[a-z]{2,}[!?…]$")
TECHNICAL = {  # looks like words, and nobody sees it: keys of keyboards, names that browsers know
    "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Files", "ETag", "Content-Type", "QuotaExceededError",
    "text/x-labeler-item",
    *("Cache-Control", "Accept-Language", "Vary", "Retry-After", "Content-Language"),
    "Content-Security-Policy",
    "Connection error",  # what Streamlit calls its dialog
    "another version of",  # in the service worker's own log
}  # fmt: skip


def markup(text):
    """Return what people would read of HTML: text between tags, and the attributes that are read out."""
    read = re.findall(r"""(?:aria-label|aria-roledescription|title|placeholder|alt)="([^"]+)\"""", text)
    return [*read, *re.sub(r"<[^>]*>", "\n", text).splitlines()]


def script_words(text):
    """Return the literals of a script that are words for people."""
    for literal in LITERAL.findall(COMMENT.sub("", text)):
        inside = literal[1:-1]
        parts = markup(inside) if inside.lstrip().startswith("<") else [FILLED.sub("", inside)]
        for part in parts:
            said = part.strip()
            if SENTENCE.search(said) and said not in TECHNICAL and not is_style(said):
                yield said


STYLES = {
    word for path in DECK.glob("*.css") for word in re.findall(r"\.([a-zA-Z][\w-]*)", path.read_text("utf-8"))
}


def is_style(text):
    """Return whether a text is classes, a selector, an address or a line of CSS."""
    if re.search(r"[a-z]{2,} .*[a-z]{2,}[.!?…]$", text):
        return False
    if re.search(r"[.#\[(=/]|\w:\w|: -?\d|--|;$|'none'", text):
        return True
    return set(text.split()) <= STYLES


@pytest.mark.parametrize("name", sorted(path.name for path in DECK.glob("*.js")))
def test_no_script_says_a_word_of_its_own(name):
    assert list(script_words((DECK / name).read_text("utf-8"))) == []


def test_the_search_for_words_in_scripts_finds_them():
    text = """
      const A = "Take with me"; // a comment: "not seen"
      h("button", { class: "btn small", "aria-label": "Close" }, `${n} cards are with you.`);
      const F = `<div class="top one"><b title="Help">Drawn images</b></div>`;
      throw new Error("an older version of " + url);
      el("p", "hint", "Looking…"); el("p", "strong said", "Choose one: it is kept");
    """
    assert list(script_words(text)) == [
        "Take with me", "Close", "cards are with you.", "Help", "Drawn images", "an older version of",
        "Looking…", "Choose one: it is kept",
    ]  # fmt: skip


DRAWS = re.compile(
    r"^(?:import streamlit|from labeler\.server\.plain import|from labeler\.tongue import)", re.MULTILINE
)
PAGES = [
    path
    for path in sorted([*(ROOT / "pages").glob("*.py"), *(ROOT / "labeler").rglob("*.py")])
    if DRAWS.search(path.read_text("utf-8"))
    and path.name not in ("inviting.py", "guard.py", "api.py", "light.py", "cards.py")
]  # without those that speak to the terminal, to programs, or in the said sentences of errors


def page_words(text):
    """Return the literals of a page that are words for people: no docstring, no key, no markup."""
    tree = ast.parse(text)
    types = [node.annotation for node in ast.walk(tree) if isinstance(node, ast.arg | ast.AnnAssign)]
    types += [
        node.returns for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    inside = {part for one in types if one is not None for part in ast.walk(one)}
    filled = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    docs = (
        inside
        | {part for node in filled for part in node.values}
        | {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and isinstance(node.body[0], ast.Expr)
        }
    )
    texts = ["".join(p.value if isinstance(p, ast.Constant) else "0" for p in node.values) for node in filled]
    alone = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docs)
    texts += [node.value for node in alone if isinstance(node.value, str)]
    for part in (part.strip() for text in texts for part in markup(text)):
        is_error = Words("es").said(part) != part  # which is translated where it is sent
        if SENTENCE.search(part) and not (part in TECHNICAL or is_style(part) or is_error):
            yield part


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_says_a_word_of_its_own(path):
    assert list(page_words(path.read_text("utf-8"))) == []


def test_the_search_for_words_in_pages_finds_them():
    text = """
def draw(known: "Agreement") -> "Response":
    '''Draw it all.'''
    st.header("Hidden words")
    st.metric("Found", f"{n:,} of all cards")
    raise Refusal(403, "Only the owner may do this.", "Go somewhere else.")
    return f'<p class="trouble" role="alert">{why}<a title="Close it">{words("key.one")}</a>'
"""
    found = ["Hidden words", "Found", "0 of all cards", "Go somewhere else.", "Close it"]
    assert sorted(page_words(text)) == sorted(found)


def test_each_text_that_is_asked_for_is_in_the_tables():
    """In scripts by say("..."), in the frame by data-say; in pages by words("...") and words.count("...")."""
    keys = tables()["en"]
    asked = set()
    for path in DECK.glob("*.js"):
        group = "grid." if path.name in ("grid.js", "search.js") else "deck."
        text = COMMENT.sub("", path.read_text("utf-8"))
        found = re.findall(r"""\bsay\("([\w.]+)"|data-(?:say|label|tip)="([\w.]+)\"""", text)
        asked |= {group + (said or marked) for said, marked in found}
    for path in [*(ROOT / "pages").glob("*.py"), *(ROOT / "labeler").rglob("*.py")]:
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[0] in ("words", "reader"):
                first = call.args[0] if call.args else None
                if isinstance(first, ast.Constant) and not ast.unparse(call.func).endswith(
                    (".part", ".said")
                ):
                    asked.add(first.value)
    assert keys["start.question.default"] == loop.QUESTION
    assert keys["start.question.drawn"] == demo.QUESTION
    assert [Words("es").question(asked) for asked in (loop.QUESTION, demo.QUESTION, "¿Ballena?")] == [
        "¿Es esto lo que buscas?", "¿Es una isla?", "¿Ballena?",
    ]  # fmt: skip
    assert len(asked) > 350
    assert asked <= keys.keys()


# what is sent ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    ws = make_pool(tmp_path_factory.mktemp("light"), 5)
    loop.learn(ws, loop.start_session(ws, "¿Es verde?", ("yes", "no"), "find"))
    with pytest.MonkeyPatch.context() as patch, served(ws, patch) as (app, _):
        yield visit(app)
    ws.close()


def told_by(page):
    (found,) = re.findall(r"data-words='([^']*)'", page.text)
    return json.loads(html.unescape(found))


def test_a_question_that_nobody_gave_is_put_in_the_readers_language_and_a_persons_own_never(
    tmp_path, monkeypatch
):
    ws = make_pool(tmp_path, 40)
    ours = loop.start_session(ws)
    own = loop.new_session(ws, Words("es").question(loop.QUESTION), ("yes", "no"))  # typed so by somebody
    for session in (own, ours):
        for item in range(10):
            loop.correct(ws, session, loop.owner(ws), item, "yes" if item % 2 else "no")
        loop.learn(ws, session)
        tutorial.make(ws, session)
    torn = loop.set_votes(ws, ours, 2)
    for person in (ws.roster.add_person(name, "swipe") for name in ("Ann", "Bob")):
        event = LabelEvent(str(uuid.uuid4()), 20, "yes" if person.name == "Ann" else "no", datetime.now(UTC))
        loop.record(ws, torn, person.id, [event])
    english, spanish = loop.QUESTION, own.question
    code = people.make_link(ws, "swipe", lasts_s=60, session=ours.id)[0]

    def read(page):
        """Return which of both is on a page, plainly or within a script."""
        assert page.status_code == 200
        return [one for one in (english, spanish) if one in page.text or json.dumps(one)[1:-1] in page.text]

    with served(ws, monkeypatch, shared=True) as (app, _):
        stranger = phone(app)
        assert read(opened(stranger, f"/join?token={code}", **SPANISH)) == [spanish]
        assert read(opened(stranger, f"/join?token={code}")) == [english]
        client = joined(app, people.make_link(ws, "own", lasts_s=60)[0])
        for path in ("/swipe", "/learn", "/board", "/disputes", "/screen/now", "/api/session"):
            address = f"{path}?session={ours.id}"
            assert read(opened(client, address, **SPANISH)) == [spanish], path
            assert read(opened(client, address)) == [english], path
            if path != "/disputes":  # nobody differs about the other one
                for headers in (SPANISH, {}):
                    page = opened(client, f"{path}?session={own.id}", **headers)
                    assert read(page) == [spanish], path
        assert ">sí</a>" in opened(client, f"/learn?session={ours.id}", **SPANISH).text  # as the answers are
        assert ">yes</a>" in opened(client, f"/learn?session={ours.id}").text
    assert loop.get_session(ws, ours.id).question == english
    ws.close()


def test_the_light_page_brings_the_words_of_the_browsers_language(client):
    for path in ("/swipe", "/swipe?shell"):
        spanish, english = opened(client, path, **SPANISH), opened(client, path)
        assert told_by(spanish) == Words("es").part("deck.")
        assert told_by(english) == Words("en").part("deck.")
        for page, language in ((spanish, "es"), (english, "en")):
            assert f'<html lang="{language}"' in page.text
            assert page.headers["content-language"] == language
            assert {one.strip() for one in page.headers["vary"].split(",")} == {
                "Accept-Encoding", "Accept-Language",
            }  # fmt: skip
        assert "Para deslizar hace falta JavaScript." in spanish.text


@pytest.mark.parametrize("name", ["keeper.js", "labeler.webmanifest"])
def test_what_speaks_is_another_file_in_each_language_and_no_cache_mixes_them(client, name):
    spanish = client.get(f"/deck/{name}", headers=SPANISH)
    english = client.get(f"/deck/{name}", headers={"accept-language": "fr, en;q=0.5"})
    assert spanish.content != english.content
    assert spanish.headers["etag"] != english.headers["etag"]
    for reply in (spanish, english):
        assert "Accept-Language" in reply.headers["vary"]
    known = {"if-none-match": english.headers["etag"]}
    assert client.get(f"/deck/{name}", headers=SPANISH | known).status_code == 200
    assert client.get(f"/deck/{name}", headers=known).status_code == 304


def test_the_manifest_is_in_the_language_of_the_page_that_names_it(client):
    page = opened(client, **SPANISH)
    (address,) = re.findall(r'"(deck/labeler\.webmanifest\?v=\w+)"', page.text)
    told = client.get(f"/{address}", headers=SPANISH)
    assert told.json()["lang"] == "es"
    assert told.json()["name"] == "labeler: desliza imágenes"
    assert "immutable" in told.headers["cache-control"]
    assert "immutable" not in client.get(f"/{address}").headers["cache-control"]  # that is the English one's


def test_a_language_is_one_more_file_and_what_it_lacks_is_said_in_english(client, tmp_path, monkeypatch):
    folder = tmp_path / "language"
    shutil.copytree(tongue.FOLDER, folder)
    (folder / "pt.json").write_text(json.dumps({"language": "Português", "deck.undo": "Desfazer"}), "utf-8")
    monkeypatch.setattr(tongue, "FOLDER", folder)
    tables.cache_clear()
    try:
        assert choose("pt-BR,pt;q=0.9,en;q=0.8") == "pt"
        page = opened(client, **{"accept-language": "pt-BR"})
        assert '<html lang="pt"' in page.text
        assert (told_by(page)["undo"], told_by(page)["later"]) == ("Desfazer", "Later")
    finally:
        monkeypatch.undo()
        tables.cache_clear()
        forget()
        light._packed.cache_clear()


# in a browser ----------------------------------------------------------------------------------------

ENGLISH = re.compile(
    r"\b(the|and|of|with|you|your|is|are|it|not|answers?|cards?|images?|pictures?|found|yes|open|close|take"
    r"|start|label|team|search|review|export|people|more|undo|later|help|now|what|how|this|offline|waiting)\b",
    re.IGNORECASE,
)
READ = """() => {
  const read = [];
  const upload = "[data-testid=stFileUploaderDropzone] :is(button, input)"; // Streamlit's own
  const streamlits = `${upload}, [data-testid=stSelectbox] button, svg`;
  const walk = (root) => {
    for (const el of root.querySelectorAll("*")) {
      if (el.shadowRoot) walk(el.shadowRoot);
      if (el.closest(`${streamlits}, [data-testid=stCode], .st-key-typed`)) continue;
      for (const name of ["aria-label", "title", "placeholder", "alt", "aria-roledescription"])
        if (el.getAttribute(name)) read.push(el.getAttribute(name));
      if (el.matches("script, style")) continue;
      for (const node of el.childNodes) if (node.nodeType === 3) read.push(node.data.trim());
    }
  };
  walk(document.querySelector("[data-testid=stMain]") ?? document.body);
  return read;
}"""
QUESTION = "¿Es esto una isla?"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Return the address of a server whose owner writes Spanish."""
    folder = tmp_path_factory.mktemp("language")
    draw(folder / "imagenes", 24)
    places = ("--images", str(folder / "imagenes"), "--workspace", str(folder / "ws"))
    with running(*places, "--question", QUESTION) as server:
        client = Client(server.url)
        until(lambda: client.get("/api/session")["embedded"] == 24, limit_s=120)
        yield server.url


@pytest.fixture
def page(browser):
    """Return a page on a Spanish phone."""
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="es-ES")
    yield context.new_page()
    context.close()


def speaks_spanish(page, *words):
    """Assert that these words are read on the page, once it has drawn them, and no English ones."""

    def reads():
        found = page.evaluate(READ)
        return [text for text in found if "/" not in text and not re.match(r"client \w{6}$", text)]

    for word in words:
        until(lambda word=word: any(word in text for text in reads()) or page.wait_for_timeout(50))
    read = reads()
    assert [text for text in read if ENGLISH.search(text)] == []
    assert page.evaluate("document.documentElement.lang") == "es"


def no_wider_than_the_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


@pytest.mark.browser
def test_a_spanish_phone_walks_through_the_deck_in_spanish(page, address):
    page.goto(f"{address}/swipe")
    page.wait_for_selector(READY)
    expect(page.locator(".hint p")).to_have_text("Desliza la imagen")
    speaks_spanish(page, QUESTION, "No lo sé", "Luego", "Deshacer", "sí", "Entendido", "Ayuda y ajustes")
    page.click(".hint .btn")
    no_wider_than_the_phone(page)
    for button in page.locator(".btn .word").all():  # nothing is cut off
        assert button.evaluate(
            "e => e.scrollWidth <= e.clientWidth || getComputedStyle(e).display === 'inline'"
        )
    page.click(".answers [data-value='yes']")  # the name that is stored is the owner's
    expect(page.locator(".figures")).to_have_text("1 hallada · 1 hecha")
    until(lambda: Client(address).get("/api/session")["counts"]["yes"] == 1 or page.wait_for_timeout(50))
    for opener, box in ((".ask", ".help"), (".stats", ".sheet"), (".bag", ".take")):
        page.click(opener)
        page.locator(f"{box}[open]").wait_for()
        if box == ".take":
            page.get_by_text("50 tarjetas").wait_for()
        speaks_spanish(page)
        page.keyboard.press("Escape")
    comes_true(page, "navigator.serviceWorker.controller")
    page.context.set_offline(True)
    page.wait_for_selector(READY)
    page.keyboard.press("ArrowLeft")
    page.get_by_text("1 pendiente").wait_for()
    speaks_spanish(page)
    page.reload()  # what the service worker kept is Spanish too
    page.get_by_role("button", name="Probar ahora").wait_for()
    page.get_by_text("Hay 1 respuesta guardada en este navegador.").wait_for()
    speaks_spanish(page, "No se puede conectar con el servidor.")
    page.context.set_offline(False)
    page.wait_for_selector(READY)
    done = page.get_by_role("heading", name="Todas las imágenes tienen respuesta")

    def is_done():
        if page.locator(READY).count():
            page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(20)
        return done.is_visible()

    until(is_done, limit_s=90)
    speaks_spanish(page, "24 imágenes, 1 hallada. Gracias.")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("start", ["Inicio", "¿Para qué es?", "Empezar a deslizar", "24 imágenes, todas leídas."]),
        ("label", [QUESTION, "No lo sé"]),
        (
            "team",
            ["Equipo", "Invitar a otros", "Respuestas por minuto", "Qué se pregunta", "Quién participa"],
        ),
    ],
)
def test_a_spanish_phone_reads_streamlits_pages_in_spanish(page, address, name, words):
    page.goto(f"{address}/{name}")
    page.get_by_text(words[-1]).first.wait_for()
    comes_true(page, "document.title.endsWith(' · labeler')")
    expect(page.locator(".st-key-nav")).to_contain_text("Etiquetar")
    speaks_spanish(page, *words)
    assert page.title() == f"{Words('es')(f'nav.{name}')} · labeler"
    no_wider_than_the_phone(page)
