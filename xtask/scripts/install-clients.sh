#!/usr/bin/env bash
# Installs the clients that the tests of `mm serve` speak through, into a folder: `install-clients.sh DIR [--browser]`.
# A Python environment with `openai` and `schemathesis`, and the npm package `openai`; with --browser also
# playwright-core, axe-core and, as root on Debian and its relatives, Chromium, for the flows of the page. Then run the
# tests with MM_CLIENTS=DIR.
# It never fails: a test says what it misses. Where Chromium does not start, what drives it is left out.
set -uo pipefail

if [ $# -lt 1 ]; then
    echo "usage: install-clients.sh DIR [--browser]"
    exit 2
fi
folder=$1
browser=${2:-}
mkdir -p "$folder"
log=$folder/install.log
: > "$log"

if [ -x "$folder/python/bin/python" ] && "$folder/python/bin/python" -c "import openai, schemathesis" 2>> "$log"; then
    echo "there already: Python with openai and schemathesis"
elif ! command -v python3 > /dev/null; then
    echo "no python3: the Python client is not tested"
elif python3 -m venv "$folder/python" >> "$log" 2>&1 \
    && "$folder/python/bin/python" -m pip install --quiet openai schemathesis >> "$log" 2>&1; then
    echo "installed: Python with openai and schemathesis"
else
    echo "could not install the Python client, going on without it: $(tail -n 1 "$log")"
fi

if [ "$browser" = "--browser" ] && ! command -v chromium > /dev/null; then
    if command -v apt-get > /dev/null && [ "$(id -u)" -eq 0 ]; then
        export DEBIAN_FRONTEND=noninteractive
        apt-get install --yes --no-install-recommends -qq chromium >> "$log" 2>&1 \
            || { apt-get update -qq >> "$log" 2>&1 && apt-get install --yes --no-install-recommends -qq chromium >> "$log" 2>&1; } \
            || echo "could not install chromium: $(tail -n 1 "$log")"
    else
        echo "not root: install chromium yourself for the flows of the page"
    fi
fi

packages=(openai)
if [ "$browser" = "--browser" ]; then
    chromium=${CHROMIUM:-chromium}
    probe=(timeout 120 "$chromium" --headless --no-sandbox --disable-gpu --dump-dom about:blank)
    if ! command -v "$chromium" > /dev/null; then
        echo "no $chromium: the page is not tested in a browser"
    elif "${probe[@]}" >> "$log" 2>&1; then
        packages+=(playwright-core axe-core)
    else
        echo "$chromium does not start here: the page is not tested in a browser: $(tail -n 1 "$log")"
    fi
fi
missing=()
for package in "${packages[@]}"; do
    [ -d "$folder/node_modules/$package" ] || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
    echo "there already: npm packages ${packages[*]}"
elif ! command -v npm > /dev/null; then
    echo "no npm: the npm client is not tested"
elif npm install --silent --no-fund --no-audit --prefix "$folder" "${missing[@]}" >> "$log" 2>&1; then
    echo "installed: npm packages ${missing[*]}"
else
    echo "could not install ${missing[*]}, going on without them: $(tail -n 1 "$log")"
fi

exit 0
