"""A memory is read and continued only by what made it; refusals name the field and the way out."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from store import LayerBlocks, Store, VideoRecord
from streamkv_cli.model.fingerprint import _RULES, version_of, weights_fingerprint
from tests.conftest import Streamkv
from tests.store.samples import spans

INGEST = ("--fps", "0.25", "--dtype", "float32", "--max-frames", "6")


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, demo_video: Path
) -> tuple[Path, Path]:
    """A store with one video, and the video."""
    folder = tmp_path_factory.mktemp("identity")
    video = Path(shutil.copy(demo_video, folder / "talk.mp4"))
    command = [sys.executable, "-m", "streamkv_cli", "ingest", str(video), "--model", str(tiny)]
    command += ["--store", str(folder / "store"), "-q", *INGEST]
    subprocess.run(command, check=True)
    return folder / "store", video


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def one_element(folder: Path) -> None:
    """The smallest change: one number in the middle of the largest matrix."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = max(tensors, key=lambda name: tensors[name].numel())
    flat = tensors[name].flatten()
    flat[flat.numel() // 2 + 7] += 1e-3
    save_file(tensors | {name: flat.view(tensors[name].shape)}, path)


def edit(name: str, *keys: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        content = inner = json.loads(path.read_text())
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(json.dumps(content))

    return change


def append(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(" ")

    return change


MODEL_CHANGES: dict[str, Callable[[Path], None]] = {
    "model weights": one_element,
    "tokenizer": append("tokenizer.json"),
    "RoPE settings": edit(
        "config.json", "text_config", "rope_parameters", "rope_theta", value=20000.0
    ),
    "model settings (config.json)": edit("config.json", "text_config", "rms_norm_eps", value=1e-5),
    "chat template": append("chat_template.jinja"),
}


@pytest.mark.parametrize("field", MODEL_CHANGES)
def test_ask_refuses_another_model(
    made: tuple[Path, Path], model: Path, streamkv: Streamkv, field: str
) -> None:
    MODEL_CHANGES[field](model)
    refused = streamkv("ask", "who?", "--store", made[0], "--model", model)
    assert refused.returncode == 4
    assert f"talk.mp4 was ingested with another model: {field} " in refused.stderr
    assert "give the right one with --model, or ingest talk.mp4 again" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize(
    ("flags", "field"),
    [
        (("--fps", "0.5"), "frames a second 0.25 there, 0.5 now"),
        (("--keep", "0.5"), "kept fraction 0.3 there, 0.5 now"),
        (("--threshold", "0.9"), "threshold None there, 0.9 now"),
        (("--min-frames", "3"), "min frames 4 there, 3 now"),
        (("--max-frames", "7"), "max frames 6 there, 7 now"),
        (("--window", "100"), "window 15000 there, 100 now"),
        (("--guidance-prompt", "cats"), "guidance prompt"),
        (("--init-prompt", "cats"), "init prompt"),
        (("--dtype", "bfloat16"), "dtype 'float32' there, 'bfloat16' now"),
        (("--kv-dtype", "bf16"), "--kv-dtype"),
    ],
)
def test_ingest_goes_on_with_the_same_settings_only(
    made: tuple[Path, Path],
    tiny: Path,
    streamkv: Streamkv,
    flags: tuple[str, ...],
    field: str,
) -> None:
    refused = streamkv(
        "ingest", made[1], "--model", tiny, "--store", made[0], *INGEST, *flags, "--json"
    )
    assert refused.returncode == 4, refused.stderr
    assert f"in the store with other settings: {field}" in refused.stderr
    assert re.search(r"go on with the stored ones.*streamkv rm \w{8}", refused.stderr)


def test_ingest_sees_other_pictures(
    made: tuple[Path, Path], model: Path, streamkv: Streamkv
) -> None:
    edit("video_preprocessor_config.json", "rescale_factor", value=1 / 127)(model)
    refused = streamkv("ingest", made[1], "--model", model, "--store", made[0], *INGEST)
    assert refused.returncode == 4
    assert "picture settings (preprocessor_config.json)" in refused.stderr


def test_a_config_saved_again_is_the_same(
    made: tuple[Path, Path], model: Path, streamkv: Streamkv
) -> None:
    path = model / "config.json"
    config = json.loads(path.read_text()) | {"transformers_version": "9.9", "_name_or_path": "x"}
    path.write_text(json.dumps(dict(reversed(config.items())), indent=7))
    asked = streamkv("ask", "who?", "--store", made[0], "--model", model, "--max-new-tokens", "1")
    assert asked.returncode == 0, asked.stderr


def add_video(store: Path, **changes: object) -> None:
    """Another video whose record differs from the stored one as given."""
    with Store.open(store, write=True) as opened:
        [(record, _)] = opened.videos()
        profile = {**record.profile, **changes.pop("profile", {})}  # type: ignore[dict-item]
        other: VideoRecord = replace(
            record,
            video_id="0123456789abcdef",
            name="zoo.mp4",
            profile=profile,
            **changes,  # type: ignore[arg-type]
        )
        geometry = other.geometry
        g, p, d = geometry.kv_heads, geometry.tokens, geometry.head_dim
        kv = torch.zeros(1, 2, g, p, d, dtype=getattr(torch, geometry.dtype))
        layer = LayerBlocks([0], kv, torch.zeros(1, g, d))
        with opened.writer(other) as writer:
            layers = [layer] * geometry.layers
            writer.commit(0, 0, 8, 4, spans(0), layers, summary=False, final=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"profile": {"family": "another"}}, "different models: family 'llava_onevision' there"),
        ({"profile": {"dtype": "float16"}}, "different models: dtype 'float32' there"),
        ({"profile": {"init_prompt": "Hm."}}, "different models: init prompt"),
        ({"profile": {"rope": {"rope_theta": 2.0}}}, "different models: RoPE settings"),
        ({"profile": {"weights": "2:00"}}, "zoo.mp4 was ingested with another model: model wei"),
    ],
)
def test_videos_of_different_models_are_not_asked_together(
    made: tuple[Path, Path],
    tmp_path: Path,
    streamkv: Streamkv,
    changes: dict[str, object],
    words: str,
) -> None:
    store = Path(shutil.copytree(made[0], tmp_path / "copy"))
    add_video(store, **changes)
    refused = streamkv("ask", "who?", "--store", store)
    assert refused.returncode == 4
    assert words in refused.stderr
    assert "--video" in refused.stderr


def test_refusals_load_nothing_heavy(
    made: tuple[Path, Path], model: Path, tiny: Path, tmp_path: Path
) -> None:
    """Weights, an unknown codec, an unknown format: all in one process without torch."""
    one_element(model)
    stranger = Path(shutil.copytree(made[0], tmp_path / "codec"))
    newer = Path(shutil.copytree(made[0], tmp_path / "format"))
    (newer / "streamkv.json").write_text('{"format": 9}\n')
    change_codec(stranger)
    code = (
        "import sys\n"
        "from streamkv_cli.app import app\n"
        "for at in (1, 3, 5):\n"
        "    store, model = sys.argv[at:at + 2]\n"
        "    try: app(['ask', 'who?', '--store', store, '--model', model])\n"
        "    except SystemExit as end: print(end.code)\n"
        "print(sorted({'torch', 'transformers', 'av', 'decord'} & set(sys.modules)))\n"
    )
    cases = (made[0], model, stranger, tiny, newer, tiny)
    command = [sys.executable, "-c", code, *map(str, cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["4", "4", "4", "[]"], done.stderr
    assert "written as int2, which this program does not know" in done.stderr
    assert "format 9" in done.stderr


def change_codec(store: Path) -> None:
    """As a later version may write it: only the index's record is looked at to refuse it."""
    from store import entries
    from store.index import Index

    index = Index(store / "index.lmdb", write=True)
    with index.read() as snapshot:
        [(key, value)] = [(bytes(k), bytes(v)) for k, v in snapshot.scan("videos")]
    record, state = entries.read_video(key, value)
    changed = entries.video_value(replace(record, codec="int2"), state)
    index.write([("videos", key, changed)])
    index.close()


def test_one_changed_element_anywhere_is_seen(tiny: Path, model: Path) -> None:
    """Of every tensor of a checkpoint of up to 1 GiB."""
    path = model / "model.safetensors"
    before = weights_fingerprint([path])
    tensors = load_file(path)
    for number, name in enumerate(tensors):
        flat = tensors[name].flatten().clone()
        flat[(number * 7919) % flat.numel()] += 1
        save_file(tensors | {name: flat.view(tensors[name].shape)}, path)
        assert weights_fingerprint([path]) != before, name
    save_file(tensors, path)
    assert (
        weights_fingerprint([path]) == before == weights_fingerprint([tiny / "model.safetensors"])
    )


def test_of_a_large_checkpoint_every_tensor_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule for more than 1 GiB, on a small file: any change of a whole tensor is seen."""
    monkeypatch.setitem(_RULES, 2, replace(_RULES[2], whole=0))
    path = tmp_path / "model.safetensors"
    tensors = {f"t{i}": torch.randn(n) for i, n in enumerate((1, 1000, 9000, 100_000))}
    save_file(tensors, path)
    before = weights_fingerprint([path])
    for name, tensor in tensors.items():
        for changed in (tensor * 1.01, tensor.roll(1), tensor.clone().index_fill_(0, FIRST, 9.0)):
            save_file(tensors | {name: changed}, path)
            assert (weights_fingerprint([path]) == before) == torch.equal(changed, tensor)
    save_file({f"u{name}": tensor for name, tensor in tensors.items()}, path)
    assert weights_fingerprint([path]) != before


FIRST = torch.tensor([0])


def test_fingerprints_of_older_memories_can_still_be_compared(tiny: Path) -> None:
    files = [tiny / "model.safetensors"]
    old, new = weights_fingerprint(files, 1), weights_fingerprint(files)
    assert (version_of(old), version_of(new)) == (1, 2)
    assert re.fullmatch("[0-9a-f]{32}", old)
    assert re.fullmatch("2:[0-9a-f]{32}", new)
    assert version_of("77:00") == 2
