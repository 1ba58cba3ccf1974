"""JPEG files of every layout, with the pixels that Pillow (libjpeg-turbo) reads out of them.

    apt-get install libjpeg-turbo-progs; pip install pillow numpy
    python tests/reference/jpeg_corpus.py FOLDER     writes all files, some thousands; MM_JPEG_CORPUS=FOLDER tests them
    python tests/reference/jpeg_corpus.py            writes the kept ones, one or a few of a kind, to tests/golden/jpeg

A file is named CLASS--DETAILS.jpg. Beside it stands CLASS--DETAILS.png if Pillow reads the file, or CLASS--DETAILS.refused if it does not:
such a file must be refused too, or be read right, so a `.refused` says nothing of pixels. Classes are the axes: `sampling`, `scans`, `restart`,
`progressive`, `arithmetic`, `size`, `gray`, `color`, `markers`, `process`, `damage`.
"""

import io
import itertools
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

GOLDEN = pathlib.Path(__file__).parent.parent / "golden" / "jpeg"
TURBO = ["cjpeg", "-quality", "90"]


def scene(width, height):
    """Gradients, a blue block at the top left, a white one at the top right, a red diagonal: nothing in it is symmetric."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = x * 255 // max(width - 1, 1)
    pixels[..., 1] = y * 255 // max(height - 1, 1)
    pixels[..., 2] = 64
    pixels[: height // 4, : width // 4] = [0, 0, 255]
    pixels[: height // 8, width - width // 8:] = 255
    pixels[np.abs(2 * x - 3 * y + height) < 4] = [230, 30, 60]
    return pixels


# Encoders

def cjpeg(size, sampling=("2x2", "1x1", "1x1"), scans=None, flags=()):
    """What cjpeg makes of the scene; nothing where libjpeg refuses the combination."""
    pixels = scene(*size)
    gray = "-grayscale" in flags
    command = [*TURBO, "-sample", ",".join(sampling[:1] if gray else sampling), *flags]
    with tempfile.NamedTemporaryFile("w", suffix=".scans") as script:
        if scans:
            script.write(scans)
            script.flush()
            command += ["-scans", script.name]
        ppm = b"P6 %d %d 255\n" % size + pixels.tobytes()
        done = subprocess.run(command, input=ppm, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def pillow(mode, size, **settings):
    """What Pillow writes: the only encoder at hand for four components."""
    file = io.BytesIO()
    Image.fromarray(scene(*size)).convert(mode).save(file, "JPEG", quality=90, **settings)
    return file.getvalue()


# Markers

def segments(file):
    """The segments between SOI and the first scan as (marker, whole bytes), and the rest from SOS on."""
    at, found = 2, []
    while file[at + 1] != 0xDA:
        length = 2 + struct.unpack(">H", file[at + 2:at + 4])[0]
        found.append((file[at + 1], file[at:at + length]))
        at += length
    return found, file[at:]


def joined(found, rest):
    return b"\xff\xd8" + b"".join(bytes_ for _, bytes_ in found) + rest


def segment(marker, payload):
    return marker, b"\xff" + bytes([marker]) + struct.pack(">H", len(payload) + 2) + payload


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def without(found, *markers):
    return [one for one in found if one[0] not in markers]


def frame_of(found):
    return next(i for i, (marker, _) in enumerate(found) if marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA))


def with_ids(file, ids):
    """Renames the components in the frame and in every scan header."""
    found, rest = segments(file)
    at = frame_of(found)
    marker, frame = found[at]
    old = [frame[10 + 3 * i] for i in range(frame[9])]
    frame = bytearray(frame)
    for i, id_ in enumerate(ids):
        frame[10 + 3 * i] = id_
    found[at] = (marker, bytes(frame))
    rest, place = bytearray(rest), 0
    while (place := rest.find(b"\xff\xda", place)) >= 0:
        for i in range(rest[place + 4]):
            rest[place + 5 + 2 * i] = ids[old.index(rest[place + 5 + 2 * i])]
        place += 2
    return joined(found, bytes(rest))


def with_colors(file, jfif, transform, first="jfif"):
    found, rest = segments(file)
    head = ([JFIF] if jfif else []) + ([] if transform is None else [adobe(transform)])
    if first == "adobe":
        head.reverse()
    return joined(head + without(found, 0xE0, 0xEE), rest)


def with_frame(file, change, marker=None):
    """Changes bytes of the frame header, given as {offset after the marker: byte}."""
    found, rest = segments(file)
    at = frame_of(found)
    frame = bytearray(found[at][1])
    for offset, byte in change.items():
        frame[2 + offset] = byte
    if marker is not None:
        frame[1] = marker
    found[at] = (frame[1], bytes(frame))
    return joined(found, rest)


def with_order(file, order):
    """Puts the segments into another order that the standard allows."""
    found, rest = segments(file)
    of = lambda *markers: [one for one in found if one[0] in markers]
    tables, frame, apps = {0xDB: of(0xDB), 0xC4: of(0xC4), 0xDD: of(0xDD)}, [found[frame_of(found)]], of(0xE0, 0xEE)
    comment = [segment(0xFE, b"words \xff\xd8\xff\xda of a comment")]
    orders = {
        "huffman-first": apps + tables[0xC4] + tables[0xDB] + frame + tables[0xDD],
        "tables-after-frame": apps + frame + tables[0xC4] + tables[0xDB] + tables[0xDD],
        "app-after-frame": frame + tables[0xDB] + tables[0xC4] + tables[0xDD] + apps,
        "one-dht": apps + tables[0xDB] + frame + [segment(0xC4, b"".join(b[4:] for _, b in tables[0xC4]))] + tables[0xDD],
        "one-dqt": apps + [segment(0xDB, b"".join(b[4:] for _, b in tables[0xDB]))] + frame + tables[0xC4] + tables[0xDD],
        "restart-first": apps + tables[0xDD] + tables[0xDB] + frame + tables[0xC4],
        "comments": comment + apps + comment + tables[0xDB] + comment + frame + tables[0xC4] + comment + tables[0xDD] + comment,
        "reversed-tables": apps + tables[0xDB][::-1] + frame + tables[0xC4][::-1] + tables[0xDD],
        "tables-twice": apps + tables[0xDB][::-1] + tables[0xDB] + frame + tables[0xC4] + tables[0xC4] + tables[0xDD],
        "thumbnail": apps + [segment(0xE1, b"Exif\0\0" + pillow("RGB", (8, 8)))] + tables[0xDB] + frame + tables[0xC4] + tables[0xDD],
        "fill-bytes": [(m, b"\xff\xff\xff" + b) for m, b in apps + tables[0xDB] + frame + tables[0xC4] + tables[0xDD]],
        "no-huffman": apps + tables[0xDB] + frame + tables[0xDD],  # the standard tables are meant, as in motion JPEG
        "high-numbers": apps + tables[0xDB] + frame + [renumbered(one) for one in tables[0xC4]] + tables[0xDD],
        "deep-table": apps + [deep(one) for one in tables[0xDB]] + frame + tables[0xC4] + tables[0xDD],
    }
    if order == "high-numbers":
        rest = bytearray(rest)
        for i in range(rest[4]):
            rest[6 + 2 * i] |= 0x22
    return joined(orders[order], bytes(rest))


def renumbered(table):
    """Huffman tables 2 and 3, which baseline files may not use, and many readers take."""
    marker, bytes_ = table
    return marker, bytes_[:4] + bytes([bytes_[4] | 2]) + bytes_[5:]


def deep(table):
    """A quantization table of 16 bits a number, which baseline files may not have, and many readers take."""
    _, bytes_ = table
    return segment(0xDB, bytes([bytes_[4] | 0x10]) + b"".join(b"\0" + bytes([n]) for n in bytes_[5:69]))


ORDERS = ["huffman-first", "tables-after-frame", "app-after-frame", "one-dht", "one-dqt", "restart-first", "comments", "reversed-tables",
          "tables-twice", "thumbnail", "fill-bytes", "no-huffman", "high-numbers", "deep-table"]

# Axes

SAMPLINGS = [
    "1x1,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "2x2,1x1,1x1", "4x1,1x1,1x1", "1x4,1x1,1x1", "4x2,1x1,1x1", "2x4,1x1,1x1", "4x4,1x1,1x1",
    "3x1,1x1,1x1", "1x3,1x1,1x1", "3x2,1x1,1x1", "2x3,1x1,1x1", "3x3,1x1,1x1",  # odd factors
    "2x1,2x1,2x1", "1x2,1x2,1x2", "2x2,2x2,2x2", "3x1,3x1,3x1", "4x2,2x1,2x1", "4x1,2x1,2x1",  # factors with a common divisor
    "2x2,2x1,2x1", "2x2,1x2,1x2", "2x2,2x1,1x2", "2x2,2x2,1x1", "2x1,2x1,1x1", "2x1,1x1,2x1", "2x2,1x1,2x2", "1x4,1x2,1x2", "2x4,1x2,1x1",  # chroma of two kinds
    "1x1,2x2,2x2", "1x1,2x1,2x1", "1x1,1x2,1x2", "1x1,2x2,1x1", "1x2,2x1,2x1", "2x1,1x2,1x2", "2x1,2x2,2x2", "1x1,4x1,1x1",  # chroma larger
]
FRACTIONS = ["3x1,2x1,1x1", "3x2,2x2,2x2", "3x2,2x1,1x1", "4x1,3x1,1x1", "2x3,1x2,1x2", "2x1,3x1,3x1"]  # one factor does not divide the other
SIZES = [(32, 32), (37, 29), (24, 40), (17, 16), (16, 17), (65, 9), (9, 65), (8, 8), (7, 5), (3, 2), (1, 1), (2, 1), (1, 3), (100, 75)]
SCANS = {
    "interleaved": None,
    "one-each": "0;1;2;",
    "luma-then-chroma": "0;1,2;",
    "chroma-first": "1;2;0;",
    "chroma-pair-first": "1,2;0;",
    "luma-cb-then-cr": "0,1;2;",
    "luma-last-of-three": "2;0;1;",
}
PROGRESSIVE = {
    "default": "0,1,2: 0-0, 0, 1; 0: 1-5, 0, 2; 2: 1-63, 0, 1; 1: 1-63, 0, 1; 0: 6-63, 0, 2; 0: 1-63, 2, 1; 0,1,2: 0-0, 1, 0; 2: 1-63, 1, 0; "
               "1: 1-63, 1, 0; 0: 1-63, 1, 0;",
    "spectral": "0,1,2: 0-0, 0, 0; 0: 1-63, 0, 0; 1: 1-63, 0, 0; 2: 1-63, 0, 0;",
    "dc-each": "0: 0-0, 0, 0; 1: 0-0, 0, 0; 2: 0-0, 0, 0; 0: 1-63, 0, 0; 1: 1-63, 0, 0; 2: 1-63, 0, 0;",
    "dc-each-refined": "0: 0-0, 0, 1; 1: 0-0, 0, 1; 2: 0-0, 0, 1; 2: 1-63, 0, 0; 1: 1-63, 0, 0; 0: 1-63, 0, 0; 0: 0-0, 1, 0; 1: 0-0, 1, 0; 2: 0-0, 1, 0;",
    "chroma-first": "1: 0-0, 0, 0; 2: 0-0, 0, 0; 0: 0-0, 0, 0; 1: 1-63, 0, 0; 2: 1-63, 0, 0; 0: 1-63, 0, 0;",
    "many": "0,1,2: 0-0, 0, 3; " + "".join(f"{c}: {a}-{b}, 0, 3; " for c in (0, 1, 2) for a, b in ((1, 2), (3, 9), (10, 63)))
            + "".join("0,1,2: 0-0, %d, %d; " % (h, h - 1) + "".join(f"{c}: 1-63, {h}, {h - 1}; " for c in (0, 1, 2)) for h in (3, 2, 1)),
    "dc-only": "0,1,2: 0-0, 0, 0;",
}
RESTARTS = {"none": (), "1": ("-restart", "1B"), "3": ("-restart", "3B"), "row": ("-restart", "1")}


def short(sampling):
    return sampling.replace(",", "-")


def corpus():
    """Yields (name, file) for every file of the corpus; a file of `None` could not be made."""
    plain = lambda sampling: tuple(sampling.split(","))
    for sampling, size in itertools.product(SAMPLINGS, SIZES):
        yield f"sampling--{short(sampling)}--{size[0]}x{size[1]}", cjpeg(size, plain(sampling))
    for sampling, (scans, script), size in itertools.product(SAMPLINGS, SCANS.items(), SIZES[:6]):
        if script:
            yield f"scans--{scans}--{short(sampling)}--{size[0]}x{size[1]}", cjpeg(size, plain(sampling), script)
    for sampling, (every, flags), scans, tables in itertools.product(SAMPLINGS, RESTARTS.items(), ("interleaved", "one-each", "chroma-pair-first"), ((), ("-optimize",))):
        if flags or tables:
            name = f"restart--{every}--{scans}{'--optimized' if tables else ''}--{short(sampling)}"
            yield name, cjpeg((53, 43), plain(sampling), SCANS[scans], (*flags, *tables))
    for sampling, (scans, script), (every, flags), size in itertools.product(SAMPLINGS, PROGRESSIVE.items(), RESTARTS.items(), ((37, 29), (40, 24))):
        yield f"progressive--{scans}--restart-{every}--{short(sampling)}--{size[0]}x{size[1]}", cjpeg(size, plain(sampling), script, ("-progressive", *flags))
    for sampling, process, (every, flags) in itertools.product(SAMPLINGS, ("sequential", "progressive", "one-each"), RESTARTS.items()):
        script = SCANS["one-each"] if process == "one-each" else None
        more = ("-progressive",) if process == "progressive" else ()
        yield f"arithmetic--{process}--restart-{every}--{short(sampling)}", cjpeg((37, 29), plain(sampling), script, ("-arithmetic", *more, *flags))
    for sampling, size in itertools.product(SAMPLINGS[:14], ((16, 16), (37, 29), (5, 40))):
        for kind, flags in (("baseline", ()), ("progressive", ("-progressive",)), ("restart", ("-restart", "2B"))):
            one = cjpeg(size, plain(sampling), None, ("-grayscale", *flags))
            yield f"gray--{kind}--{sampling.split(',')[0]}--{size[0]}x{size[1]}", one
    yield from sizes()
    yield from colors()
    for order, sampling, restart in itertools.product(ORDERS, SAMPLINGS[:4], ("1", "none")):
        for kind, flags in (("baseline", ()), ("progressive", ("-progressive",))):
            if order not in ("deep-table", "no-huffman", "high-numbers") or kind == "baseline":
                one = cjpeg((21, 19), plain(sampling), None, (*flags, *RESTARTS[restart]))
                if kind == "baseline":
                    yield f"markers--{order}--{short(sampling)}--restart-{restart}", with_order(one, order)
                elif order in ("app-after-frame", "comments", "thumbnail", "fill-bytes"):
                    yield f"markers--progressive-{order}--{short(sampling)}--restart-{restart}", with_order(one, order)
    yield from processes()
    yield from damaged()


def sizes():
    for width, height in itertools.product((1, 2, 7, 8, 9, 15, 16, 17, 31, 33), repeat=2):
        for sampling in ("2x2,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1"):
            for kind, flags in (("baseline", ()), ("progressive", ("-progressive",))):
                one = cjpeg((width, height), tuple(sampling.split(",")), None, flags)
                yield f"size--{kind}--{short(sampling)}--{width}x{height}", one
    for sampling in SAMPLINGS[:4]:  # with a texture, whose blocks have many numbers and long zero runs
        yield f"size--large--{short(sampling)}", cjpeg((300, 200), tuple(sampling.split(",")))
        yield f"size--large-progressive--{short(sampling)}", cjpeg((300, 200), tuple(sampling.split(",")), None, ("-progressive",))


def colors():
    """Three components and four, with every marker that may say what they are, or none."""
    ids3 = {"123": (1, 2, 3), "012": (0, 1, 2), "RGB": (82, 71, 66), "rgb": (114, 103, 98), "ycc": (1, 34, 35), "odd": (7, 9, 200)}
    marks = [(jfif, transform) for jfif in (False, True) for transform in (None, 0, 1, 2, 7)]
    for (jfif, transform), (ids, numbers), sampling, progressive in itertools.product(
            marks, ids3.items(), ("1x1,1x1,1x1", "2x2,1x1,1x1"), (False, True)):
        one = cjpeg((21, 19), tuple(sampling.split(",")), None, ("-progressive",) if progressive else ())
        name = f"color--three--{'jfif' if jfif else 'bare'}--adobe-{transform}--ids-{ids}--{short(sampling)}{'--progressive' if progressive else ''}"
        yield name, with_ids(with_colors(one, jfif, transform), numbers)
    for transform in (0, 1, 2):
        yield f"color--three--adobe-before-jfif--{transform}", with_colors(cjpeg((21, 19), ("1x1",) * 3), True, transform, "adobe")
    yield "color--rgb-by-cjpeg", cjpeg((21, 19), ("1x1", "1x1", "1x1"), None, ("-rgb",))
    yield "color--rgb-by-cjpeg--progressive", cjpeg((21, 19), ("1x1", "1x1", "1x1"), None, ("-rgb", "-progressive"))
    ids4 = {"1234": (1, 2, 3, 4), "CMYK": (67, 77, 89, 75), "0123": (0, 1, 2, 3)}
    for (jfif, transform), (ids, numbers), progressive in itertools.product(marks, ids4.items(), (False, True)):
        one = pillow("CMYK", (21, 19), progressive=progressive)
        name = f"color--four--{'jfif' if jfif else 'bare'}--adobe-{transform}--ids-{ids}{'--progressive' if progressive else ''}"
        yield name, with_ids(with_colors(one, jfif, transform), numbers)
    for jfif, transform in marks:
        name = f"{'jfif' if jfif else 'bare'}--adobe-{transform}"
        yield f"color--gray--{name}", with_colors(cjpeg((21, 19), ("1x1",), None, ("-grayscale",)), jfif, transform)


def processes():
    """Other coding processes, which a reader may refuse, and may not misread."""
    one, progressive = cjpeg((21, 19), ("1x1",) * 3), cjpeg((21, 19), ("1x1",) * 3, None, ("-progressive",))
    yield "process--sequential-extended", with_frame(one, {}, 0xC1)
    yield "process--baseline-12-bit", with_frame(one, {2: 12})
    yield "process--extended-12-bit", with_frame(one, {2: 12}, 0xC1)
    yield "process--progressive-12-bit", with_frame(progressive, {2: 12})
    yield "process--16-bit", with_frame(one, {2: 16}, 0xC1)
    for marker, name in ((0xC3, "lossless"), (0xC5, "hierarchical"), (0xC6, "hierarchical-progressive"), (0xC7, "hierarchical-lossless"),
                         (0xC8, "reserved"), (0xCB, "lossless-arithmetic"), (0xCD, "hierarchical-arithmetic"), (0xF7, "jpeg-ls")):
        yield f"process--{name}", with_frame(one, {}, marker)
    yield "process--height-in-dnl", with_frame(one, {3: 0, 4: 0})
    two = with_frame(one, {})
    yield "process--two-components", _components(two, 2)
    yield "process--fraction", None
    for sampling in FRACTIONS:  # the blocks of the scan do not fit these factors, so only a refusal can be right
        factors = [[int(n) for n in pair.split("x")] for pair in sampling.split(",")]
        yield f"process--fraction--{short(sampling)}", with_frame(one, {9 + 3 * i: 16 * h + v for i, (h, v) in enumerate(factors)})
    for factor in (0x01, 0x10, 0x51, 0x15, 0xFF):
        yield f"process--factor-{factor:02x}", with_frame(one, {9: factor})


def _components(file, count):
    found, rest = segments(file)
    at = frame_of(found)
    frame = bytearray(found[at][1])[: 10 + 3 * count]
    frame[9], frame[3] = count, 8 + 3 * count
    found[at] = (frame[1], bytes(frame))
    scan = b"\xff\xda" + struct.pack(">HB", 6 + 2 * count, count) + rest[5:5 + 2 * count] + rest[11:]
    return joined(found, scan)


def damaged():
    """Files whose pixels are all there though something around them is not as it should be."""
    one = cjpeg((37, 29))
    yield "damage--bytes-behind-the-end", one + b"more \xff\xd8\xff\xda" + one
    yield "damage--stray-bytes-before-the-scan", (lambda found, rest: joined(found, b"\1\2\3" + rest))(*segments(one))


KEPT = [  # (start of the name, how many)
    *[(f"sampling--{short(sampling)}--16x17", 1) for sampling in SAMPLINGS], ("sampling--2x2-1x1-1x1--37x29", 1), ("sampling--1x1-2x2-2x2--37x29", 1),
    *[(f"scans--{scans}--{short(s)}--16x17", 1) for scans in SCANS for s in ("2x2,1x1,1x1", "1x1,2x2,2x2")],
    ("scans--one-each--2x2-1x1-1x1--37x29", 1), ("scans--one-each--1x2-1x1-1x1--17x16", 1), ("scans--one-each--4x1-2x1-2x1--37x29", 1), ("scans--one-each--4x1-1x1-1x1--65x9", 1), ("scans--one-each--3x1-1x1-1x1--37x29", 1),
    *[(f"progressive--{scans}--restart-none--2x2-1x1-1x1--37x29", 1) for scans in PROGRESSIVE],
    ("progressive--many--restart-3--1x1-2x2-2x2--37x29", 1), ("progressive--dc-each--restart-1--2x1-1x1-1x1--40x24", 1),
    ("restart--1--one-each--2x2", 1), ("restart--3--interleaved--optimized--2x1", 1), ("restart--row--chroma-pair-first--1x2", 1),
    ("arithmetic--sequential--restart-none--2x2-1x1-1x1", 1), ("arithmetic--progressive--restart-3--2x2-1x1-1x1", 1), ("arithmetic--one-each--restart-1--1x1-2x2-2x2", 1),
    ("gray--baseline--2x2--37x29", 1), ("gray--progressive--4x2--37x29", 1), ("gray--restart--1x1--5x40", 1),
    *[(f"markers--{order}--2x2-1x1-1x1--restart-1", 1) for order in ORDERS], ("markers--progressive-comments--2x2", 1),
    *[(f"color--three--{jfif}--adobe-{t}--ids-{ids}--1x1-1x1-1x1", 1) for jfif in ("bare", "jfif") for t in (None, 0, 1) for ids in ("123", "RGB")],
    ("color--three--bare--adobe-0--ids-123--2x2-1x1-1x1", 1), ("color--three--bare--adobe-2--ids-odd--1x1", 1), ("color--three--adobe-before-jfif--0", 1), ("color--rgb-by-cjpeg", 1),
    *[(f"color--four--{jfif}--adobe-{t}--ids-1234", 1) for jfif in ("bare", "jfif") for t in (None, 0, 2)], ("color--four--bare--adobe-2--ids-CMYK--progressive", 1),
    ("color--gray--bare--adobe-0", 1), ("size--baseline--2x2-1x1-1x1--1x1", 1), ("size--baseline--2x1-1x1-1x1--17x1", 1), ("size--progressive--1x2-1x1-1x1--9x33", 1),
    ("process--", 99), ("damage--", 9),
]


def expected(file):
    """The pixels by Pillow, or nothing where it refuses the file."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            image.load()
            return image.convert("RGB")
    except Exception:
        return None


def write(folder, names_and_files):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if "--" in old.name and old.suffix in (".jpg", ".png", ".refused"):
            old.unlink()
    made = refused = 0
    for name, file in names_and_files:
        if file is None:
            continue
        (folder / f"{name}.jpg").write_bytes(file)
        image = expected(file)
        if image is None:
            (folder / f"{name}.refused").write_bytes(b"")
        else:
            image.save(folder / f"{name}.png", optimize=True)
        made, refused = made + 1, refused + (image is None)
    print(f"{made} files, {refused} refused by Pillow, in {folder}")


def kept(names_and_files):
    left = dict(KEPT)
    for name, file in names_and_files:
        start = next((start for start in left if name.startswith(start) and left[start] > 0), None)
        if start is not None and file is not None:
            left[start] -= 1
            yield name, file


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(pathlib.Path(sys.argv[1]), corpus())
    else:
        write(GOLDEN, kept(corpus()))
