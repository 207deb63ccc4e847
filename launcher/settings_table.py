"""The table of all settings, as `shoal settings` shows it and docs/settings.md holds it."""

from launcher.programs import all_settings
from meshkit.settings import Description, describe

_HEAD = """\
# Settings

All settings are environment variables. Each program reads its own once, at its start, and names every fault at once;
`shoal check` does so without starting anything, and points out variables that no program reads. `shoal up` sets for the
processes that it starts what it must (ports, addresses, the mesh secret) and passes the rest of its environment on.
Where a variable has two rows, two programs read it with different defaults. `operator` stands for the commands
`shoal keys` and `shoal cache`, `warm` for `shoal cache warm`.

| variable | read by | type | default | meaning |
|---|---|---|---|---|
"""


def rows() -> list[tuple[Description, list[str]]]:
    """Each setting with the programs that read it, in the order of their names."""
    readers: dict[Description, list[str]] = {}
    for program, kind in all_settings().items():
        for description in describe(kind):
            readers.setdefault(description, []).append(program)
    return sorted(readers.items(), key=lambda row: row[0].variable)


def markdown() -> str:
    """The page docs/settings.md."""
    return _HEAD + "".join(_row(description, programs) for description, programs in rows())


def _row(description: Description, programs: list[str]) -> str:
    default = f"`{description.default}`" if description.default not in ("", "required") else description.default
    cells = (f"`{description.variable}`", ", ".join(programs), description.type, default, description.help)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
