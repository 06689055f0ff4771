"""An image file of any kind becomes the picture that a viewer shows, or is refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from tests.data.making import noise, png

from modelrank.data.decoded import Shrink
from modelrank.data.pixels import SUFFIXES, as_rgb, image_size, range_used, stored_size
from modelrank.hub.preprocessing import Preprocessing
from modelrank.types import ModelRankError

GREY = noise(6, 8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def png_file(path, width, height, bits, colour_type, rows):
    """Of kinds that Pillow does not write."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_transparency_becomes_white():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, 3] = 255
    pixels = np.asarray(as_rgb(Image.fromarray(rgba)))
    assert pixels[:2].max() == 0
    assert pixels[2:].min() == 255


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_a_colour_that_a_png_calls_transparent_becomes_white(tmp_path, mode):
    pixels = np.full((4, 4), 7, np.uint8)
    pixels[:2] = 200
    image = Image.fromarray(pixels).convert(mode)
    found = np.asarray(as_rgb(saved(tmp_path / "a.png", image, transparency=(7, 7, 7) if mode == "RGB" else 7)))
    assert (found[:2] == 200).all()
    assert (found[2:] == 255).all()


def test_sixteen_bit_grey_keeps_its_contrast():
    pixels = np.asarray(as_rgb(Image.fromarray(np.array([[0, 32768, 65535]], np.uint16))))
    assert pixels[0, :, 0].tolist() == [0, 128, 255]


def test_floating_numbers_from_0_to_1_are_the_same_picture_in_8_bits(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray((GREY / 255).astype(np.float32)))
    np.testing.assert_array_equal(np.asarray(as_rgb(path))[..., 0], GREY)


@pytest.mark.parametrize("values", [GREY.astype(np.float32), (GREY / 100 - 1).astype(np.float32)])
def test_floating_numbers_whose_white_nobody_knows_are_refused(tmp_path, values):
    path = saved(tmp_path / "a.tif", Image.fromarray(values))
    with pytest.raises(ModelRankError, match=r"a\.tif: its floating numbers are not within 0 and 1"):
        as_rgb(path)


def test_numbers_not_finite_are_refused(tmp_path):
    values = (GREY / 255).astype(np.float32)
    values[0, 0] = np.nan
    with pytest.raises(ModelRankError, match=r"a\.tif: its floating numbers"):
        as_rgb(saved(tmp_path / "a.tif", Image.fromarray(values)))


def test_32_bit_integers_beyond_16_are_refused(tmp_path):
    with pytest.raises(ModelRankError, match=r"a\.tif: its numbers are not within those of 16 bits"):
        as_rgb(saved(tmp_path / "a.tif", Image.fromarray(GREY.astype(np.int32) * 70_000)))


@pytest.mark.parametrize("mode", ["L", "P", "LA", "PA", "1", "CMYK", "YCbCr", "RGBX"])
def test_every_mode_shows_the_same_picture(mode):
    picture = Image.fromarray(np.where(GREY > 127, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(np.asarray(as_rgb(picture.convert(mode)))[..., 0], np.asarray(picture))


def test_an_rgb_image_is_not_copied_and_left_as_it_was(tmp_path):
    note = Image.Exif()
    note[ExifTags.Base.Orientation] = 1
    pixels = noise(6, 8, 3)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels), exif=note)
    with Image.open(path) as given:
        found = as_rgb(given)
        assert found is given
        assert given.getexif()[ExifTags.Base.Orientation] == 1
        Shrink(6, "bilinear")(found)  # of that size already
        Preprocessing(size=4, resize=6).evaluation()(found)
        Preprocessing(size=4, resize=6).training()(found)
    np.testing.assert_array_equal(np.asarray(found), pixels)  # nobody wrote into it; it outlives its file


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_of_an_animation_the_first_picture(tmp_path, suffix):
    first = Image.fromarray(np.where(GREY > 127, 255, 0).astype(np.uint8)).convert("RGB")
    rest = [Image.new("RGB", first.size, "red")]
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(tmp_path / f"a{suffix}", first, save_all=True, append_images=rest, **options)
    np.testing.assert_array_equal(np.asarray(as_rgb(path)), np.asarray(first))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])  # a TIFF is turned by Pillow when its pixels are read
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright_by_its_note_as_pillow_does(tmp_path, orientation, suffix):
    note = Image.Exif()
    note[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(tmp_path / f"a{suffix}", Image.fromarray(noise(6, 8, 3)), exif=note, **options)
    with Image.open(path) as stored:
        assert stored_size(stored) == (8, 6)
        expected = ImageOps.exif_transpose(stored)
    found = as_rgb(path)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    assert image_size(path) == found.size
    np.testing.assert_array_equal(np.asarray(as_rgb(found)), np.asarray(found))  # and no second time


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_note_turns_nothing(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(GREY), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    assert as_rgb(path).size == (8, 6)


def test_how_much_of_16_bits_a_picture_uses(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(GREY.astype(np.uint16) * 16))
    with Image.open(path) as image:
        assert range_used(image) == pytest.approx(int(GREY.max()) * 16 / 65535)
    with Image.open(saved(tmp_path / "b.png", Image.fromarray(GREY))) as image:
        assert range_used(image) is None
    with Image.open(saved(tmp_path / "c.tiff", Image.fromarray(np.full((2, 3), 0.25, np.float32)))) as image:
        assert range_used(image) == 0.25


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_alpha_is_no_part_of_the_range_that_is_used(tmp_path, colour_type, channels):
    pixels = np.full((2, 3, channels), 0xFFFF, ">u2")
    pixels[..., : channels - (colour_type > 2)] = 0x0FFF
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    with Image.open(png_file(tmp_path / "a.png", 3, 2, 16, colour_type, rows)) as image:
        assert range_used(image) == pytest.approx(1 / 16, abs=0.01)


def test_unreadable_file_is_named(tmp_path):
    whole = png(noise(64, 64, 3))
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelRankError, match=r"cut\.png"):
        as_rgb(tmp_path / "cut.png")


def test_gigapixels_are_refused_before_they_are_decoded(tmp_path):
    png_file(tmp_path / "huge.png", 60_000, 60_000, 8, 0, b"\0")
    with pytest.raises(ModelRankError, match=r"huge\.png.*3600000000 pixels.*exceeds limit"):
        as_rgb(tmp_path / "huge.png")


def test_no_program_is_started_for_a_file_that_is_a_program(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(ModelRankError, match=r"a\.png: no image format that is read here"):
        as_rgb(tmp_path / "a.png")
    assert not {".eps", ".ps", ".pdf"} & SUFFIXES


def test_a_file_is_read_by_its_content_not_its_name(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "BMP")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(np.asarray(as_rgb(tmp_path / "a.jpg"))[..., 0], GREY)
