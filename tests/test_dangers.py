"""What the code never does, and what becomes of files that would run code where somebody opened them."""

import ast
import json
import pickle
import re
import shutil
from pathlib import Path

import pytest

from labeler import loop, predicting
from tests.pools import make_pool
from tests.served import begin
from tests.test_embedding import save_network

ROOT = Path(__file__).parent.parent

# the code ----------------------------------------------------------------------------------

FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "pickle", "cPickle", "dill", "joblib", "marshal", "shelve",
    "cloudpickle", "os.system", "os.popen", "os.spawnl", "os.spawnv", "yaml.load", "yaml.unsafe_load",
    "pandas.read_pickle", "torch.hub", "runpy", "code", "subprocess.getoutput", "subprocess.getstatusoutput",
    "xml.etree", "xml.dom", "tempfile.mktemp", "tarfile",
}  # fmt: skip
FOLDERS = (ROOT / name for name in ("labeler", "active", "pages"))
SOURCES = [ROOT / "app.py", *sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))]


def dangers(source):
    """Return the lines of code that do what is never needed here, each with a reason."""
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [f"{module}.{a.name}" if module else a.name for a in node.names] + [module or ""]
            found += [
                (node.lineno, n) for n in names if any(n == f or n.startswith(f + ".") for f in FORBIDDEN)
            ]
        elif isinstance(node, ast.Call):
            found += [(node.lineno, why) for why in call_dangers(node)]
        elif isinstance(node, ast.keyword) and node.arg == "unsafe_allow_html":
            found.append((node.value.lineno, "unsafe_allow_html"))
    return found


def call_dangers(call):
    name = ast.unparse(call.func)
    given = {k.arg: k.value for k in call.keywords if k.arg}

    def says(key, value):
        return isinstance(given.get(key), ast.Constant) and given[key].value is value

    if name in FORBIDDEN or name.rpartition(".")[0] in FORBIDDEN:
        yield name
    if "shell" in given and not says("shell", False):
        yield "a shell"
    if name.endswith("np.load") and not says("allow_pickle", False):
        yield "np.load without allow_pickle=False"
    if "allow_pickle" in given and not says("allow_pickle", False):
        yield "allow_pickle"
    if name == "torch.load" and not says("weights_only", True):
        yield "torch.load without weights_only"
    if name.endswith("from_pretrained") and not (
        says("trust_remote_code", False) and says("local_files_only", True)
    ):
        yield "from_pretrained that may run or fetch"
    if name == "AutoModel.from_pretrained" and not says("use_safetensors", True):
        yield "weights other than safetensors"
    ours = (
        "HERE / ",
        "chart.narrowing(",
        "report.",
    )  # files, a drawing with nothing but numbers, escaped names
    if name == "st.html" and not (len(call.args) == 1 and ast.unparse(call.args[0]).startswith(ours)):
        yield "st.html with more than what is ours"
    if name in ("st.iframe", "components.html", "st.components.v1.html"):
        yield name


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_the_code_does_nothing_that_data_could_turn_against_it(path):
    assert dangers(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle", "from pickle import loads", "import joblib", "eval('1')", "exec(x)",
        "compile(x, '', 'exec')", "os.system(x)",
        "subprocess.run(x, shell=True)", "subprocess.Popen(x, shell=y)", "np.load(f)",
        "np.load(f, allow_pickle=True)", "torch.load(f)", "torch.load(f, weights_only=False)", "yaml.load(f)",
        "st.markdown(x, unsafe_allow_html=True)", "st.html(f'<b>{name}</b>')", "st.iframe(x)",
        "AutoModel.from_pretrained(p)", "AutoModel.from_pretrained(p, trust_remote_code=False)",
        "Auto.from_pretrained(p, trust_remote_code=True, local_files_only=True)",
        "from xml.etree import ElementTree", "__import__(x)", "torch.hub.load(x)",
    ],
)  # fmt: skip
def test_the_search_for_dangers_finds_them(line):
    assert dangers(line)


def test_the_deck_sets_text_as_text():
    """innerHTML is set once, to a constant."""
    scripts = {p.name: p.read_text("utf-8") for p in (ROOT / "labeler" / "deck").glob("*.js")}
    words = (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "srcdoc",
        "javascript:",
    )
    found = [
        line.strip()
        for text in scripts.values()
        for line in text.splitlines()
        if any(w in line for w in words)
    ]
    assert found == ["this.deck.innerHTML = FRAME;"]
    frame = scripts["deck.js"].split("const FRAME = `", 1)[1].split("`", 1)[0]
    assert "${" not in frame


def test_every_test_that_the_table_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text("utf-8")))
    there = {
        node.name
        for path in (ROOT / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(named) > 40
    assert named <= there


# a network from elsewhere ------------------------------------------------------------------


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("network") / "vit", "vit")


@pytest.fixture
def harm(tmp_path):
    """Return (bytes that do harm when unpickled, the file that they make)."""
    made = tmp_path / "harm"
    data = pickle.dumps(Harm(made))
    pickle.loads(data).close()
    assert made.exists()
    made.unlink()
    return data, made


def test_weights_that_would_run_code_are_not_opened(network, tmp_path, harm):
    from active.embedding import load_encoder

    data, made = harm
    folder = shutil.copytree(network, tmp_path / "beside")
    for name in (
        "pytorch_model.bin",
        "model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "training_args.bin",
        "model.pt",
    ):
        (folder / name).write_bytes(data)
    assert load_encoder(str(folder)).dim
    assert not made.exists()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no weights in the safetensors format"):
        load_encoder(str(folder))
    assert not made.exists()


def test_an_index_that_names_a_pickle_is_refused(network, tmp_path, harm):
    from active.embedding import load_encoder

    data, made = harm
    folder = shutil.copytree(network, tmp_path / "index")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    names = ["embeddings.cls_token", "layernorm.weight"]
    (folder / "weights.bin").write_bytes(data)
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "weights.bin")}
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        (folder / name).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="not in the safetensors format"):
        load_encoder(str(folder))
    assert not made.exists()


def test_a_processor_with_code_of_its_own_is_refused(network, tmp_path):
    from active.embedding import load_encoder

    folder = shutil.copytree(network, tmp_path / "code")
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "own.Own"}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="transformers can't load"):
        load_encoder(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_learned_head_that_was_swapped_for_a_pickle_is_not_opened(tmp_path, harm):
    data, made = harm
    ws = make_pool(tmp_path, 60)
    begin(ws)
    session = ws.store.session(1)
    for item in range(20):
        loop.correct(ws, session, loop.owner(ws), item, "yes" if item % 10 == 0 else "no")
    loop.learn(ws, session)
    heads = list(ws.folder.rglob("*.npz"))
    assert heads
    for path in heads:
        path.write_bytes(data)
    predicting.predict(ws, session)
    assert not made.exists()
