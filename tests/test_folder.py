"""active.embedding.folder: folders that are no network, said plainly; no code of theirs runs."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from active.embedding import load_encoder
from active.embedding.folder import has_timm
from tests.networks import pictures, save_network


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def why(folder: Path) -> str:
    with pytest.raises(ValueError) as e:  # noqa: PT011  # the sentence is what is looked at
        load_encoder(str(folder))
    return str(e.value)


def test_folders_that_hold_no_network(networks: Path, tmp_path: Path) -> None:
    assert why(tmp_path / "nothing") == f"There is no folder {tmp_path / 'nothing'}."
    assert why(tmp_path) == f"{tmp_path} holds no config.json, so it is no image network of transformers."
    (tmp_path / "config.json").write_text("{")
    assert why(tmp_path) == f"{tmp_path / 'config.json'} can't be read as JSON."

    def changed(name: str) -> Path:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return shutil.copytree(save_network(networks / "whole", "vit"), tmp_path / name)

    folder = changed("no processor")
    (folder / "preprocessor_config.json").unlink()
    assert "holds no preprocessor_config.json" in why(folder)

    folder = changed("no weights")
    (folder / "model.safetensors").unlink()
    assert why(folder) == f"{folder} holds no weights in the safetensors format."

    folder = changed("cut off")
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size // 2)
    assert why(folder) == f"The weights {folder / 'model.safetensors'} are cut off or damaged."

    folder = changed("other sizes")
    config = json.loads((folder / "config.json").read_text()) | {"hidden_size": 48}
    (folder / "config.json").write_text(json.dumps(config))
    assert str(folder) in why(folder)

    folder = changed("weights of another network")
    shutil.copy(save_network(networks / "donor", "resnet") / "model.safetensors", folder)
    assert "don't fit its config.json" in why(folder)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_weights_that_are_cut_off(networks: Path, tmp_path: Path, keep: int) -> None:
    folder = shutil.copytree(save_network(networks / "cut", "vit"), tmp_path / "net")
    weights = folder / "model.safetensors"
    os.truncate(weights, keep if keep >= 0 else weights.stat().st_size + keep)
    assert why(folder) == f"The weights {weights} are cut off or damaged."


MARK = "open({!r}, 'w').close()"
"""A file of code that leaves a mark when it runs."""


def test_weights_only_as_pickle_are_not_read(networks: Path, tmp_path: Path) -> None:
    class Leaves:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]  # touch takes a path

    folder = shutil.copytree(save_network(networks / "as pickle", "vit"), tmp_path / "net")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Leaves()))
    assert why(folder) == (
        f"{folder} holds no weights in the safetensors format, only pytorch_model.bin, "
        "which may run code when it is read."
    )
    assert not (tmp_path / "ran").exists()
    pickle.loads((folder / "pytorch_model.bin").read_bytes())
    assert (tmp_path / "ran").exists()  # it would have


def with_code(folder: Path, ran: Path, **config: object) -> Path:
    """Make a folder ask for code of its own, everywhere where it can."""
    auto = {
        name: f"code.{name}" for name in ("AutoModel", "AutoConfig", "AutoImageProcessor", "AutoTokenizer")
    }
    for name in ("config.json", "preprocessor_config.json"):
        said = json.loads((folder / name).read_text()) | {"auto_map": auto} | config
        (folder / name).write_text(json.dumps(said))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["code.T", None]}})
    )
    for name in ("code.py", "__init__.py", "modeling.py"):
        (folder / name).write_text(MARK.format(str(ran)))
    return folder


def test_code_in_the_folder_never_runs(networks: Path, tmp_path: Path) -> None:
    vit = save_network(networks / "with code", "vit")
    ran = tmp_path / "ran"
    folder = with_code(shutil.copytree(vit, tmp_path / "unheard"), ran, model_type="unheard_of")
    assert why(folder) == (
        f"The network in {folder} needs code of its own, which is never run here. "
        "Choose one that transformers knows."
    )
    folder = with_code(shutil.copytree(vit, tmp_path / "known"), ran)
    want = load_encoder(str(vit)).encode(pictures())
    np.testing.assert_allclose(load_encoder(str(folder)).encode(pictures()), want, atol=1e-5)
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    processor["image_processor_type"] = "UnheardOf"
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    assert str(folder) in why(folder)
    assert not ran.exists()


def test_networks_of_timm(networks: Path, tmp_path: Path) -> None:
    if has_timm():
        pytest.skip("timm is installed here; this test is of what is said without it")
    for config in ({"architecture": "resnet18", "pretrained_cfg": {}}, {"model_type": "timm_wrapper"}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert why(tmp_path) == (
            f"{tmp_path} is a network of timm, which isn't installed here. Install timm and torchvision, "
            "or choose a network of transformers."
        )


def test_a_network_that_reads_text(networks: Path) -> None:
    assert "takes no images" in why(save_network(networks / "bert", "bert"))
