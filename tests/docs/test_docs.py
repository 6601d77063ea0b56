"""The documentation is true: commands exist, snippets run, links resolve, tables equal the code."""

import re
import runpy
import shlex
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ctrl.cli import cli
from ctrl.config.loader import check, load
from ctrl.config.override import read_override
from ctrl.config.problems import CODES
from ctrl.field import gate

ROOT = Path(__file__).parents[2]
SITE = ROOT / "configs/heat_treatment/site.yaml"
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md"), *ROOT.glob("plant_models/*.md")]
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# programs of the system that our pages may name; everything else must be ours
SYSTEM = {"sudo", "git"}


def fences(language):
    found = [
        pytest.param(body, id=f"{page.relative_to(ROOT)}-{i}")
        for page in PAGES
        for i, (name, body) in enumerate(FENCE.findall(page.read_text()))
        if name == language
    ]
    assert found, language
    return found


# ------------------------------------------------------------------------------------------------------- commands
@cache
def make_targets():
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def check_ctrl(line, verb, rest, whole):
    assert verb in cli.commands, line
    command = cli.commands[verb]
    if whole:
        command.make_context(verb, list(rest))  # raises for an unknown option or a missing argument
    known = {option for param in command.params for option in param.opts}
    assert {word for word in rest if word.startswith("--")} <= known, line
    assert all((ROOT / word).exists() for word in rest if word.startswith(("configs/", "docs/"))), line


def check_command(line, whole=True):
    words = shlex.split(line, comments=True)
    if not words or words[0] in SYSTEM:
        return
    if words[0] == "make":
        assert set(words[1:]) <= make_targets(), line
    elif words[0] == "ctrl":
        check_ctrl(line, words[1], words[2:], whole)
    else:
        pytest.fail(f"who knows this command? {line}")


@pytest.mark.parametrize("body", fences("sh"))
def test_commands_exist(body):
    for line in body.splitlines():
        check_command(line)


def test_commands_inside_text_exist():
    inline = re.compile(r"`((?:make|ctrl) [a-z][^`]*)`")
    for page in PAGES:
        text = FENCE.sub("", page.read_text())
        for command in inline.findall(text):
            check_command(command, whole=False)


# ------------------------------------------------------------------------------------------------------- snippets
@pytest.mark.parametrize("body", fences("python"))
def test_python_snippets_run(body, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    script = tmp_path / "snippet.py"
    script.write_text(body)
    runpy.run_path(str(script))


@pytest.mark.parametrize("body", fences("yaml"))
def test_yaml_snippets_are_accepted(body, tmp_path):
    """A snippet takes its place in the example site, entry by entry, and the whole must check without an error."""
    yaml = YAML(typ="safe", pure=True)
    file = tmp_path / "site.yaml"
    if body.startswith("# override"):
        file.write_text(body)
        override, document = read_override(file, load(SITE))
        assert override is not None
        assert not document.problems
        return
    snippet, whole = yaml.load(body), yaml.load(SITE.read_text())
    for section, entries in snippet.items():
        whole[section] |= entries
    if not whole["simulate"]["plants"]:
        del whole["simulate"]  # the snippet has a device without a plant
    (tmp_path / "data").symlink_to(SITE.parent / "data")
    with file.open("w") as out:
        yaml.dump(whole, out)
    assert [str(p) for p in check(file) if p.severity == "error"] == []


def plain(line):
    return " ".join(line.partition(" # ")[0].split())


def test_readme_excerpt_is_in_the_example():
    body = next(body for name, body in FENCE.findall((ROOT / "README.md").read_text()) if name == "yaml")
    in_file = {plain(line) for line in SITE.read_text().splitlines()}
    assert [line for line in body.splitlines() if plain(line) not in in_file] == []


# ---------------------------------------------------------------------------------------------------------- links
def anchors(page):
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(page):
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_paths_in_text_exist(page):
    """Files of ours that a page names, and no folder of anybody's machine."""
    text = FENCE.sub("", page.read_text())
    for path in re.findall(r"`((?:ctrl|ext|configs|docs|tests|deploy|plant_models)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path
    assert not re.findall(r"/(?:home|root|Users)/\S*", page.read_text())


# --------------------------------------------------------------------------------------------------------- tables
def table_rows(text):
    return {row[0].strip("`"): row[1] for row in re.findall(r"^\| (`[^|]*`) \| ([^|]*?) \|", text, re.MULTILINE)}


def test_error_codes_equal_the_code():
    text = (ROOT / "docs/configuration.md").read_text()
    rows = {code: words for code, words in table_rows(text).items() if re.fullmatch(r"[EW]\d{3}", code)}
    assert rows == {code: meaning.replace("|", "\\|") for code, meaning in CODES.items()}


def test_generated_pages_are_up_to_date():
    made = runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]()
    committed = {page.name: page.read_text() for page in (ROOT / "docs/reference").glob("*.md")}
    assert sorted(committed) == sorted(made)
    stale = [name for name, text in made.items() if committed[name] != text]
    assert not stale, f"run docs/generate.py: {stale}"


def events_in(folder):
    """Names of events that the code tells: capitals in quotes beside a call that tells."""
    call = re.compile(
        r'(?:_tell|_event|_say|Event|return|kind =|name =)[^"\n]*(?:"[^"]*"[^"\n]*)?"([A-Z]+(?:_[A-Z]+)+)"'
    )
    return {name for file in (ROOT / folder).rglob("*.py") for name in call.findall(file.read_text())}


def test_events_and_refusals_are_described():
    text = (ROOT / "docs/operating.md").read_text()
    told = events_in("ctrl/field") | events_in("ctrl/signals") | events_in("ctrl/service") | events_in("ctrl/app")
    missing = sorted(name for name in told if f"`{name}`" not in text and not name.startswith("CTRL"))
    assert missing == []
    source = Path(gate.__file__).read_text()
    refusals = set(re.findall(r'Refusal\(\s*"([A-Z_]+)"', source))
    assert {code for code in refusals if f"`{code}`" not in text} == set()


def test_checks_of_the_gate_are_listed_in_their_order():
    """The order in docs/architecture.md is the order of ctrl/field/gate.py."""
    text = (ROOT / "docs/architecture.md").read_text()
    words = [
        "1. state",
        "2. owner",
        "3. allow-list",
        "4. finite",
        "5. limits",
        "6. wear",
        "7. age",
        "8. journal",
        "9. send",
    ]
    assert all(text.index(a) < text.index(b) for a, b in pairwise(words))
    source = Path(gate.__file__).read_text()
    calls = [
        "STATES[state.mode]",
        "state.owner",
        '"NOT_ALLOWED"',
        "_bad_number(request",
        "_outside(request",
        "_worn(",
        "_old(",
    ]
    decide = source[source.index("def decide") : source.index("def is_finite")]
    assert all(decide.index(a) < decide.index(b) for a, b in pairwise(calls))


def test_the_licence_of_every_data_file_is_named():
    text = (ROOT / "configs/heat_treatment/data/SOURCES.md").read_text()
    assert [f.name for f in (ROOT / "configs/heat_treatment/data").glob("*.csv") if f"| {f.name} |" not in text] == []
