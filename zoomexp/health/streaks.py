"""How often in a row something was so: one look may see a passing state, and is never enough."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from zoomexp.health.findings import Finding
from zoomexp.health.judging import Verdicts


class Streaks:
    """Turns verdicts into findings: what is so in `needed` looks in a row, at different steps, is found."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._counts: dict[str, list[int]] = {}  # "kind at site" -> looks in a row, step of the latest

    def add(
        self, verdicts: Verdicts, needed: Mapping[str, int], epoch: int, step: int, site: str = "", module: str = ""
    ) -> list[Finding]:
        """Take in one look.

        Args:
            verdicts: kind -> (whether it is so, value).
            needed: kind -> looks in a row that it takes.
            epoch: from 0.
            step: the global step.
            site: of the module, and its class; empty for the whole network.
            module: its class.

        Returns:
            What is found now and was not before, each only once in a run.
        """
        new = []
        for kind, (so, value) in verdicts.items():
            known = next((one for one in self.findings if (one.kind, one.site) == (kind, site)), None)
            if not so:
                self._counts.pop(f"{kind} at {site}", None)
                if known is not None and known.until is None:
                    known.until = epoch
            elif self._count(f"{kind} at {site}", step) >= needed[kind]:
                if known is None:
                    new.append(Finding(kind, value, epoch, site, module))
                elif known.until is not None:  # it has come back
                    known.until = None
        self.findings += new
        return new

    def _count(self, key: str, step: int) -> int:
        count, latest = self._counts.get(key, [0, -1])
        self._counts[key] = [count + (step > latest), step]
        return self._counts[key][0]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"findings": [asdict(finding) for finding in self.findings], "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self.findings = [Finding(**finding) for finding in state["findings"]]
        self._counts = {key: list(count) for key, count in state["counts"].items()}
