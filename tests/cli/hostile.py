"""Broken and hostile input files, by modality: a name and the bytes of each."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

Files = Iterator[tuple[str, bytes]]
ENDINGS = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP", "gif": "GIF", "ppm": "PPM"}
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) print\nshowpage\n"


def noise(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (10, 12)) -> bytes:
    buffer, count = io.BytesIO(), size[0] * size[1] * len(Image.new(mode, (1, 1)).tobytes())
    Image.frombytes(mode, size, noise(count)).save(buffer, kind)
    return buffer.getvalue()


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(name, content)
    return buffer.getvalue()


def images() -> Files:
    for ending, kind in ENDINGS.items():
        whole = encoded(kind)
        for cut in (0, 1, 12, len(whole) // 2, len(whole) - 9):
            yield f"cut-{cut}.{ending}", whole[:cut]
        yield f"noise.{ending}", noise(300)
        yield f"damaged.{ending}", whole[:40] + noise(60) + whole[100:]
    yield from {
        "eps.png": EPS,
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "html.jpg": b"<html><script>alert(1)</script></html>",
        "zip.png": archive("a.png", b"x"),
        "bomb.png": png(60_000, 60_000, zlib.compress(b"")),
        "huge.png": png(2**31 - 1, 2**31 - 1, b""),
        "zero.png": png(0, 0, zlib.compress(b"")),
        "no-data.png": png(10, 12, b""),
        "not-deflated.png": png(10, 12, noise(50)),
        "depth.png": png(10, 12, zlib.compress(bytes(500)), depth=5),
        "colour.png": png(10, 12, zlib.compress(bytes(500)), colour=77),
        "one.png": encoded("PNG", size=(1, 1)),
        "grey.png": encoded("PNG", "L"),
        "deep.tif": encoded("TIFF", "I;16"),
        "cmyk.jpg": encoded("JPEG", "CMYK"),
        "jpeg-as.png": encoded("JPEG"),
    }.items()


def tables() -> Files:
    """For the columns width, height and hue."""
    head = "width,height,hue\n"
    cells = (
        "1e39",
        "-1e39",
        "1e400",
        "nan",
        "inf",
        "-Infinity",
        "",
        " ",
        "abc",
        "1,5",
        "0x10",
        "1.2.3",
        "--1",
        "½",
        "٣",
    )
    for i, cell in enumerate((*cells, "1\u2028", "\x1b[31m", "=1+1", "<script>", '"', "1\x00", "1e-400", "9" * 400)):
        yield f"cell-{i}.csv", f"{head}1,2,{cell}\n".encode()
    for name, text in {
        "empty": "",
        "blank": "\n\n \n",
        "header": head,
        "no-header": "1,2,3\n",
        "few": "width,height\n1,2\n",
        "short-row": f"{head}1,2\n",
        "long-row": f"{head}1,2,3,4\n",
        "twice": "width,width,hue,height\n1,2,3,4\n",
        "semicolons": "width;height;hue\n1;2;3\n",
        "in-header": 'width,"height;hue"\n1,2\n',
        "tabs": "width\theight\thue\n1\t2\t3\n",
        "open-quote": f'{head}1,2,"3\n',
        "quotes": f'{head}1,2,"3"4\n',
        "long-cell": f"{head}1,2,{'x' * 200_000}\n",
        "long-header": f"{'x' * 200_000},{head}",
        "carriage": "width,height,hue\r1,2,3\r",
        "case": "Width,Height,Hue\n1,2,3\n",
        "wide": ",".join(f"c{i}" for i in range(3000)) + "\n",
    }.items():
        yield f"{name}.csv", text.encode()
    yield "latin.csv", "width,height,hue\n1,2,é\n".encode("latin-1")
    yield "utf16.csv", f"{head}1,2,x\n".encode("utf-16")
    yield "utf16-bare.csv", f"{head}1,2,3\n".encode("utf-16-le")
    yield "noise.csv", noise(300)
    yield "zip.csv", archive("a.csv", head.encode())
    yield "png.tsv", encoded("PNG")


def array(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


def npy_of_shape(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def series() -> Files:
    """For series of 11 steps of pulse and pressure."""
    fine = np.random.default_rng(0).normal(size=(11, 2)).astype(np.float32)
    bundle = io.BytesIO()
    np.savez(bundle, fine)
    whole = array(fine)
    for name, content in {
        "npz": bundle.getvalue(),
        "objects": array(np.array([[1, None]], dtype=object), allow_pickle=True),
        "complex": array(fine.astype(complex)),
        "texts": array(fine.astype(str)),
        "records": array(np.zeros(11, dtype=[("a", "f4"), ("b", "f4")])),
        "dates": array(np.zeros((11, 2), dtype="datetime64[s]")),
        "flat": array(fine[:, 0]),
        "scalar": array(np.float32(1)),
        "cube": array(fine[None]),
        "turned": array(fine.T),
        "none": array(fine[:0]),
        "long": array(np.tile(fine, (3, 1))),
        "nan": array(np.where(fine > 1, np.nan, fine)),
        "inf": array(np.full_like(fine, np.inf)),
        "double": array(np.full((11, 2), 1e300)),
        "fill": array(np.full((11, 2), 1e10)),
        "largest": array(np.full((11, 2), 3e38, dtype=np.float32)),
        "opposite": array(np.array([[3e38, -3e38]] * 11, dtype=np.float32)),
        "huge": npy_of_shape("(1000000000, 2)"),
        "negative": npy_of_shape("(-1, 2)"),
        "code": npy_of_shape("__import__('os')"),
        "version": whole[:6] + b"\x09\x00" + whole[8:],
        "noise": noise(300),
        "empty": b"",
    }.items():
        yield f"{name}.npy", content
    for cut in (3, 7, 60, len(whole) - 5):
        yield f"cut-{cut}.npy", whole[:cut]
    rows = "".join(f"{a},{b}\n" for a, b in fine.tolist())
    for name, text in {
        "no-column": f"pulse,presure\n{rows}",
        "short": "pulse,pressure\n1,2\n",
        "word": f"pulse,pressure\n{rows}".replace("1", "one"),
        "overflow": f"pulse,pressure\n{'1e39,1' * 11}\n",
        "fill-values": "pulse,pressure\n" + "1e10,-1e10\n" * 11,
        "empty": "",
    }.items():
        yield f"{name}.csv", text.encode()
    for name, text in {
        "no-data": "@problemName x\n1,2:3,4:a\n",
        "stamps": "@timestamps true\n@data\n(0,1):a\n",
        "uneven": "@data\n1,2,3:4,5:a\n",
        "one": "@data\n1,2:a\n",
        "words": "@data\na,b:c,d:e\n",
        "empty": "",
        "latin": "@data\n1,é:2,3:a\n",
    }.items():
        yield f"{name}.ts", text.encode("latin-1")
    yield "words.tsv", b"1\ta\tb\n"
    yield "gap.tsv", b"1\t2\tNaN\t3\n"


def texts() -> Files:
    for name, text in {
        "empty": "",
        "blank": " \n\t \n",
        "zero-width": "\u200b\u200b",
        "control": "good \x1b[31mfood\x00\x07",
        "lines": "good\u2028food\u2029place\x85quiet",
        "markup": "</blockquote><script>alert(1)</script> good",
        "right": "\u202egood food",
        "turkish": "İİİ GOOD İSTANBUL food",
        "sharp": "ẞ good Σας",
        "marks": "e\u0301" * 50 + " good",
        "emoji": "👩\u200d👩\u200d👧 good",
        "long-word": "x" * 300_000,
        "many-words": "good " * 30_000,
        "bars": "||| good ||| food",
        "unknown": "terrible awful dreadful",
    }.items():
        yield f"{name}.txt", text.encode()
    yield "latin.txt", "café good".encode("latin-1")
    yield "utf16.txt", "good food".encode("utf-16")
    yield "noise.txt", noise(300)
    yield "png.txt", encoded("PNG")
    for name, text in {
        "no-column": "review\ngood\n",
        "empty": "",
        "header": "text\n",
        "blank-row": "text,label\n,a\n",
        "open-quote": 'text,label\n"good food,a\n',
        "extra": "text,label\ngood, food,a\n",
        "long": f"text,label\n{'good ' * 40_000},a\n",
    }.items():
        yield f"{name}.csv", text.encode()


def prompts() -> Files:
    for name, text in {
        "empty": "",
        "blank": "\n",
        "nul": "a\0b",
        "long": "x = 1\n" * 20_000,
        "control": "\x1b[2J",
    }.items():
        yield f"{name}.py", text.encode()
    yield "latin.py", "é = 1".encode("latin-1")
    yield "noise.py", noise(200)
