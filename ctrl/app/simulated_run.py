"""What a simulation leaves behind: its records, their digest, and the KPIs computed from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctrl.app.recording import HISTORY_FILE
from ctrl.config.model import Site
from ctrl.records.history import HistoryReader

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[float, str], None]
"""(share of the run that is done, what is going on)"""


@dataclass(slots=True)
class Run:
    """One run that has ended.

    record: folder of the records. digest: sha256 of rows, events and inputs. simulated_s: plant time. wall_s: time of
    this machine. cycles: scans; overruns: scans that were missed. kpis: units are in the names. plans, commits: how
    many were made; solve_s: how long each took. events: as recorded.
    """

    site: Site
    record: Path
    digest: str
    simulated_s: float
    wall_s: float
    cycles: int
    overruns: int
    kpis: dict[str, float]
    plans: int
    commits: int
    solve_s: list[float]
    events: list[dict[str, Any]] = field(repr=False, default_factory=list)

    def frame(self) -> pd.DataFrame:
        """One row a record period, one column a tag; a value with bad status is NaN.

        Raises RuntimeError when pandas is not there: it comes with `pip install "loopwright[frames]"`.
        """
        reader = HistoryReader(self.record / HISTORY_FILE)
        try:
            return reader.frame()
        except ModuleNotFoundError as error:
            if error.name != "pandas":
                raise
            raise RuntimeError('frame() needs pandas: pip install "loopwright[frames]"') from error
        finally:
            reader.close()

    def save(self, folder: str | Path) -> Path:
        """Copy the records to a folder. Raises FileExistsError when it is there already."""
        return Path(shutil.copytree(self.record, folder))

    def to_json(self) -> dict[str, Any]:
        """The report of `ctrl simulate --json`."""
        return {
            "kpis": self.kpis,
            "record": str(self.record),
            "digest": self.digest,
            "simulated_s": self.simulated_s,
            "wall_s": self.wall_s,
            "cycles": self.cycles,
            "overruns": self.overruns,
            "plans": self.plans,
            "commits": self.commits,
            "solve_s": sum(self.solve_s),
        }
