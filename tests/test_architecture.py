"""The walls of the house: imports run one way, every knob is read, names are known."""

import ast
from pathlib import Path

import pytest

from r1reward_jax import config as configs

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "r1reward_jax"
LAYERS = [
    {"cli"},
    {"quickstart", "evaluation", "evaluation_settings", "dry_run", "opening", "bench", "doctor"},
    {"build"},
    {"train", "annotate", "reward_model"},
    {"report", "inference"},
    {"evals"},
    {"judge", "sharding"},
    {"rollout", "rl", "data"},
    {"models"},
    {"runs", "prompt_file", "generation"},
    {"prompts", "images", "config", "hub"},
    {"types", "testing", "model_folder", "responses"},
    {"console", "errors", "files", "places", "reading", "stopping"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_rooms(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        for name in names:
            assert not name.startswith("configs"), "configs are imported as r1reward_jax.configs"
            parts = name.split(".")
            if parts[0] == "r1reward_jax" and len(parts) > 1 and parts[1] in LEVEL:
                yield parts[1]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_from_top_to_bottom(path):
    room = room_of(path)
    if room in ("__init__",):
        return
    assert room in LEVEL, f"{room} has no place in the house"
    for other in imported_rooms(ast.parse(path.read_text())):
        assert LEVEL[other] >= LEVEL[room], f"{path} imports {other}, which is above it"
        strangers = {"rl", "models", "data"}
        apart = room in strangers and other in strangers - {room}
        assert not apart, f"{path}: rl, models and data never import one another"


def test_configs_import_only_ml_collections():
    for path in (ROOT / "configs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                module = getattr(node, "module", None) or node.names[0].name
                assert module.startswith(("ml_collections", "r1reward_jax.configs")), path


def sections_of(node: ast.AST, aliases: dict[str, set[str]]) -> set[str]:
    """What an expression before a field may be: `config.rl` -> {"rl"}, an alias -> its sections."""
    if isinstance(node, ast.Attribute):
        return {node.attr}
    return aliases.get(node.id, set()) if isinstance(node, ast.Name) else set()


def local_aliases(scope: ast.AST, given: dict[str, set[str]]) -> dict[str, set[str]]:
    """Local names of config sections in one function: `c = config.rl`, `c, mesh = config.rl, …`."""
    aliases = {name: set(sections) for name, sections in given.items()}

    def add(target: ast.AST, value: ast.AST) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for t, v in zip(target.elts, value.elts):
                add(t, v)
        elif isinstance(target, ast.Name):
            name = {"config"} if isinstance(value, ast.Name) else sections_of(value, aliases)
            aliases.setdefault(target.id, set()).update(name)

    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            add(node.targets[0], node.value)
    return aliases


def scopes(tree: ast.Module) -> list[tuple[ast.AST, dict[str, set[str]]]]:
    """Functions with the sections that their local names stand for, also where a caller in the same
    file passes one: `f(config.rl)`."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    given: dict[str, dict[str, set[str]]] = {f.name: {} for f in functions}
    for function in functions:
        aliases = local_aliases(function, {})
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called = next((f for f in functions if f.name == node.func.id), None)
                for parameter, value in zip(called.args.args if called else [], node.args):
                    sections = sections_of(value, aliases)
                    given[called.name].setdefault(parameter.arg, set()).update(sections)
    return [(f, local_aliases(f, given[f.name])) for f in functions]


def constants(tree: ast.Module) -> dict[str, set]:
    """The constants in the tables of a module, by the tables' names."""
    return {
        node.targets[0].id: {n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)}
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def reads() -> tuple[set[tuple[str, str]], set[str]]:
    """(section, field) pairs that the package reads, and sections that it passes on whole."""
    pairs, whole = set(), set()
    for path in modules():
        tree = ast.parse(path.read_text())
        tables = constants(tree)
        for scope, aliases in scopes(tree):
            strings = {n.value for n in ast.walk(scope) if isinstance(n, ast.Constant)}
            for node in ast.walk(scope):
                strings |= tables.get(node.id, set()) if isinstance(node, ast.Name) else set()
            for node in ast.walk(scope):
                if isinstance(node, ast.Attribute):
                    pairs |= {(s, node.attr) for s in sections_of(node.value, aliases)}
                    if isinstance(node.value, ast.Name) and node.value.id in ("config", "settings"):
                        pairs.add(("", node.attr))
                    if node.attr == "items":
                        whole |= sections_of(node.value, aliases)
                elif isinstance(node, ast.Subscript):
                    for section in sections_of(node.value, aliases):
                        constant = isinstance(node.slice, ast.Constant)
                        names = {node.slice.value} if constant else strings
                        pairs |= {(section, name) for name in names}
                elif isinstance(node, ast.Call):
                    for keyword in node.keywords:
                        if keyword.arg is None:
                            whole |= sections_of(keyword.value, aliases)
    return pairs, whole


def unread(fields) -> list[str]:
    pairs, whole = reads()
    found = []
    for path in fields:
        *sections, field = path.split(".")
        section = sections[-1] if sections else ""
        if (section, field) not in pairs and section not in whole:
            found.append(path)
    return found


@pytest.mark.parametrize("name", ["default", "quickstart"])
def test_every_config_field_is_read(name):
    assert unread(path for path, _ in configs.items(configs.load(name))) == []


def test_unread_fields_are_noticed():
    """A field counts only in its own section: `steps` is read of sft, and `lr` never of rollout."""
    assert unread(["rl.steps", "rollout.lr", "checkpoint.temperature", "nothing"]) == [
        "rl.steps",
        "rollout.lr",
        "checkpoint.temperature",
        "nothing",
    ]


def test_every_knob_has_a_comment():
    for path in (ROOT / "configs" / "default.py", ROOT / "configs" / "quickstart.py"):
        known = (ROOT / "configs" / "default.py").read_text() if "quick" in path.name else ""
        for line in path.read_text().splitlines():
            line = line.strip()
            section = line.endswith("ConfigDict()")
            if line.startswith("c.") and not section and f"{line.split(' = ')[0]} = " not in known:
                assert "  # " in line, f"{path.name}: {line}"


def test_all_configs_load_and_share_the_default_fields():
    default = {path for path, _ in configs.items(configs.load("default"))}
    for path in (ROOT / "configs").rglob("[a-z]*.py"):
        name = ".".join(path.relative_to(ROOT / "configs").with_suffix("").parts)
        assert default <= {p for p, _ in configs.items(configs.load(name))}, path


def test_metric_names_are_in_the_table():
    from r1reward_jax.runs.metrics import METRICS, OLD_NAMES

    prefixes = {name.split("/")[0] for name in METRICS}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                head, slash, tail = node.value.partition("/")
                if slash and head in prefixes and tail.replace("_", "").isalnum():
                    known = node.value in METRICS or node.value in OLD_NAMES
                    assert known or head in ("judge", "rollout"), node.value


def test_only_a_few_files_see_a_config():
    """A config becomes plain arguments once, in `build`; what is below it never sees one."""
    seeing = {
        str(path.relative_to(PACKAGE))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ml_collections")
    }
    allowed = {"build.py", "dry_run.py", "evaluation.py", "evaluation_settings.py"}
    allowed |= {"opening.py", "quickstart.py"}
    assert {f for f in seeing if not f.startswith(("cli/", "config/", "quickstart/"))} <= allowed


def test_meshes_are_made_from_a_config_in_one_place():
    calls = [
        path.name
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "make_meshes"
    ]
    assert calls == ["build.py", "dry_run.py"]  # a dry run loads no policy, and has no Setup


def test_no_module_imports_itself_by_a_detour():
    """The modules that each one imports when it is loaded form no cycle."""
    names = {}
    for path in modules():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: dict[str, set[str]] = {name: set() for name in names}
    for name, path in names.items():
        for node in ast.parse(path.read_text()).body:  # not what a function imports when called
            if isinstance(node, ast.ImportFrom):
                wanted = [f"{node.module}.{a.name}" for a in node.names] + [str(node.module)]
            elif isinstance(node, ast.Import):
                wanted = [a.name for a in node.names]
            else:
                continue
            # a package that only holds others is no module of its own here
            graph[name] |= {w for w in wanted if w in graph and w != name} - {"r1reward_jax"}
    for name in graph:  # a package that re-exports what is inside it is no detour
        graph[name] -= {other for other in graph if name.startswith(f"{other}.")}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())
