"""An outside reader's opinion of drawn words: how many it reads as they were asked for.

    pip install rapidocr-onnxruntime pillow numpy            (the package ships its models; or have `tesseract` installed)
    python tests/reference/ocr_words.py --mm target/release/mm --model runs/words-64/model --recipe words-64 --count 100

Takes held-out records of the recipe by `mm data show`, asks the model for their captions by `mm draw --captions`, and reads the drawings and the
real images. Both are enlarged four times first, without which readers that were made for photographs see nothing. Spaces and line ends are left
out on both sides, and so are all characters but letters and digits; a letter O and a zero count as equal, since readers do not know the faces.
Prints the share of words (of the texts as a whole) and the character error, for drawings and for real images. Without a reader it says so and
exits with 0.
"""

import argparse
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ENLARGED = 4


def reader():
    """A function from the path of an image to its text, with the name of the reader; nothing if there is no reader."""
    try:
        import numpy
        from PIL import Image
    except ImportError:
        return None

    def enlarged(path):
        image = Image.open(path).convert("RGB")
        image = image.resize((image.width * ENLARGED, image.height * ENLARGED), Image.BICUBIC)
        border = 8 * ENLARGED
        whole = Image.new("RGB", (image.width + 2 * border, image.height + 2 * border), image.getpixel((0, 0)))
        whole.paste(image, (border, border))
        return whole

    try:
        from rapidocr_onnxruntime import RapidOCR

        ocr = RapidOCR()

        def rapid(path):
            found, _ = ocr(numpy.asarray(enlarged(path))[:, :, ::-1])
            boxes = sorted(found or [], key=lambda box: sum(point[1] for point in box[0]))
            return "".join(text for _, text, _ in boxes)

        return "RapidOCR", rapid
    except ImportError:
        pass
    if shutil.which("tesseract"):

        def tesseract(path):
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / "image.png"
                enlarged(path).save(file)
                return subprocess.run(["tesseract", file, "-", "--psm", "6"], capture_output=True, text=True, check=True).stdout

        return "tesseract", tesseract
    return None


def plain(text):
    return re.sub("[^0-9A-Z]", "", text.upper()).replace("O", "0")


def distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def wilson(right, of):
    z, p = 1.959964, right / of
    half = z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return [(p + z * z / (2 * of) + sign * half) / (1 + z * z / of) for sign in (-1, 1)]


def score(name, read, pairs):
    right = edits = characters = 0
    for caption, path in pairs:
        wanted, found = plain(caption), plain(read(path))
        right += wanted == found
        edits += distance(found, wanted)
        characters += len(wanted)
    low, high = wilson(right, len(pairs))
    print(
        f"{name}: {right} of {len(pairs)} texts ({100 * right / len(pairs):.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %), "
        f"character error {100 * edits / characters:.1f} % of {characters}"
    )


def records(mm, recipe, count, folder):
    """The captions and files of held-out records."""
    pairs = []
    for number in range(count):
        path = folder / f"real-{number}.png"
        command = [mm, "data", "show", recipe, "--split", "held-out", "--record", str(number), "--out", path]
        pairs.append((subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip(), path))
    return pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mm", default="mm", help="the program")
    parser.add_argument("--model", help="model folder; without it, real images alone are read")
    parser.add_argument("--recipe", default="words-64", help="recipe that names the data")
    parser.add_argument("--count", type=int, default=100, help="number of texts")
    parser.add_argument("--draw", nargs="*", default=[], help="more flags of `mm draw`")
    args = parser.parse_args()
    found = reader()
    if found is None:
        print("skipped: neither rapidocr-onnxruntime (with pillow and numpy) nor tesseract is installed")
        return 0
    name, read = found
    print(f"read by {name}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        real = records(args.mm, args.recipe, args.count, folder)
        score("real images", read, real)
        if args.model:
            captions, drawn = folder / "captions.txt", folder / "drawn"
            captions.write_text("".join(f"{caption}\n" for caption, _ in real))
            command = [args.mm, "draw", args.model, "--captions", captions, "--out", drawn, "--json", *args.draw]
            lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
            objects = [json.loads(line) for line in lines]
            score("drawings", read, [(line["caption"], line["image"]) for line in objects])
    return 0


if __name__ == "__main__":
    sys.exit(main())
