import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pushforward._errors import ConfigError, DataError
from pushforward.data import arrays, images, open_data

RANDOM = np.random.default_rng(0)


def save(path: Path, height: int = 4, width: int = 6, mode: str = "RGB", seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels, mode=None).save(path)
    return pixels


def png(width: int, height: int) -> bytes:
    """A few bytes that claim to be an image of this size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def folder(path: Path, n: int = 6) -> Path:
    for i in range(n):
        save(path / ["cat", "dog"][i % 2] / f"{i}.png", seed=i)
    return path


def test_sub_folders_are_classes_and_pixels_are_kept(tmp_path: Path):
    pixels = {i: save(tmp_path / ["cat", "dog"][i % 2] / f"{i}.png", seed=i) for i in range(6)}
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / ".hidden.png").write_text("not an image")
    data = open_data(tmp_path)
    assert (data.kind, data.shape, data.labels) == ("image", (3, 4, 6), ("cat", "dog"))
    both = torch.cat([data.values, data.held_out])
    context = torch.cat([data.context, data.held_out_context])
    for i, image in pixels.items():
        found = [(b == torch.from_numpy(image).permute(2, 0, 1)).all().item() for b in both]
        assert found.count(True) == 1
        assert context[found.index(True)] == i % 2


def test_a_flat_folder_of_grey_images_has_no_classes(tmp_path: Path):
    for i in range(5):
        save(tmp_path / f"{i}.png", mode="L", seed=i)
    data = open_data(tmp_path)
    assert data.shape == (1, 4, 6)
    assert data.context is None


def test_grey_among_colour_gets_three_equal_channels(tmp_path: Path):
    grey = save(tmp_path / "0.png", mode="L")
    for i in range(1, 5):
        save(tmp_path / f"{i}.png", seed=i)
    data = open_data(tmp_path)
    both = torch.cat([data.values, data.held_out])
    assert sum(bool((image == torch.from_numpy(grey)).all()) for image in both) == 1


def test_train_and_test_folders_are_the_split(tmp_path: Path):
    folder(tmp_path / "train", 8)
    folder(tmp_path / "test", 6)
    data = open_data(tmp_path)
    assert (len(data), len(data.held_out), data.labels) == (8, 6, ("cat", "dog"))


@pytest.mark.parametrize("parts", [("train", "test"), ("",)])
def test_the_first_rows_and_those_held_out_are_of_every_class(tmp_path: Path, parts, monkeypatch: pytest.MonkeyPatch):
    """Files come class by class: sets whose rows stay as they stand would be judged, and start, by the first class."""
    monkeypatch.setattr(arrays, "LARGE", 1)
    monkeypatch.setattr(images, "LARGE", 1)
    pixels = [save(tmp_path / part / "ab"[i // 20] / f"{i:02}.png", seed=i) for part in parts for i in range(40)]
    data = open_data(tmp_path)
    for context in (data.context, data.held_out_context):
        assert set(context[:8].tolist()) == {0, 1}  # pyright: ignore[reportOptionalSubscript]
    whole, classes = data.whole()
    assert torch.equal(whole, torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
    assert classes.tolist() == ([0] * 20 + [1] * 20) * len(parts)  # pyright: ignore[reportOptionalMemberAccess]
    assert data.places is not None
    for row in (0, 5):
        file = tmp_path / data.places.of(row).partition("/")[2]
        inside = file if file.exists() else tmp_path / "train" / data.places.of(row).partition("/")[2]
        assert torch.equal(data.values[row], torch.tensor(images.decode(inside, None)).permute(2, 0, 1))


def test_transparent_parts_become_white(tmp_path: Path):
    for i in range(5):
        Image.new("RGBA", (3, 3), (10 * i, 0, 0, 0)).save(tmp_path / f"{i}.png")
    assert (open_data(tmp_path).values == 255).all()


def test_the_turn_of_the_camera_is_undone(tmp_path: Path):
    pixels = np.zeros((4, 6), np.uint8)
    pixels[0] = 200
    for i in range(5):
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees clockwise to view
        Image.fromarray(pixels).save(tmp_path / f"{i}.png", exif=exif)
    image = open_data(tmp_path).values[0, 0]
    assert image.shape == (6, 4)
    assert (image[:, -1] == 200).all()
    assert (image[:, :-1] == 0).all()


def test_mixed_sizes_are_listed_and_can_be_cropped(tmp_path: Path):
    folder(tmp_path)
    save(tmp_path / "cat" / "big.png", 9, 7)
    with pytest.raises(DataError, match=r"6x4 and 1 others.*cat/big.png is 7x9\. Pass size=4"):
        open_data(tmp_path)
    assert open_data(tmp_path, size=4).shape == (3, 4, 4)


def test_cropping_takes_the_middle(tmp_path: Path):
    pixels = np.zeros((4, 8), np.uint8)
    pixels[:, 2:6] = 90
    for i in range(5):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    assert (open_data(tmp_path, size=4).values == 90).all()


def broken(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


BAD = {
    "not an image": (lambda p: (p / "cat" / "x.png").write_bytes(b"hello"), "cat/x.png (not an image)"),
    "empty image": (lambda p: (p / "cat" / "x.png").write_bytes(b""), "cat/x.png (not an image)"),
    "cut short": (
        lambda p: (p / "cat" / "x.png").write_bytes((p / "cat" / "0.png").read_bytes()[:-30]),
        "cat/x.png (",
    ),
    "bomb": (lambda p: (p / "cat" / "x.png").write_bytes(png(50_000, 50_000)), "cat/x.png (Image size"),
    "small bomb": (lambda p: (p / "cat" / "x.png").write_bytes(png(9000, 9000)), "9000x9000 is more than"),
    "16 bits": (
        lambda p: Image.fromarray(np.zeros((4, 6), np.uint16)).save(p / "cat" / "x.png"),
        "cat/x.png (more than 8 bits",
    ),
    "stray images": (lambda p: save(p / "x.png"), "1 directly in"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_named(tmp_path: Path, name: str):
    folder(tmp_path)
    spoil, words = BAD[name]
    spoil(tmp_path)
    with pytest.raises(DataError) as error:
        open_data(tmp_path)
    assert words in str(error.value)


def test_bad_images_can_be_skipped(tmp_path: Path):
    folder(tmp_path)
    (tmp_path / "cat" / "x.png").write_bytes(b"hello")
    data = open_data(tmp_path, bad_rows="skip")
    assert len(data) + len(data.held_out) == 6
    assert "1 of 7 skipped" in data.source


def test_folders_without_images_or_with_too_few_or_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match="an empty one"):
        open_data(tmp_path)
    (tmp_path / "table.csv").write_text("1,2\n")
    with pytest.raises(DataError, match=r"one with table.csv\. Pass one of its files"):
        open_data(tmp_path)
    save(tmp_path / "0.png")
    with pytest.raises(DataError, match="got 1 row"):
        open_data(tmp_path)
    with pytest.raises(DataError, match="Pass the folder it lies in"):
        open_data(tmp_path / "0.png")
    with pytest.raises(ConfigError, match="size=0"):
        open_data(tmp_path, size=0)
    monkeypatch.setattr(images, "_LARGEST_SET", 20)
    with pytest.raises(DataError, match="fit in 4 GiB"):
        open_data(tmp_path)
