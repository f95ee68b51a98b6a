r"""Names in LaTeX tables: rows as papers write them, and keys for `\ref`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lossbench.planning.rows import UNTUNED, Row, short_value
from lossbench.registry import Notation
from lossbench.report.escaping import latex_label, latex_text

_NUMBER = re.compile(r"(-?)([0-9.]+)(?:e([+-]?)0*([0-9]+))?")
_NONE = Notation()


def latex_row_name(row: Row, notation: Mapping[str, Notation]) -> str:
    r"""Name of a row: `L-GM ($\alpha = 0.3$)`, or a label of the user with its parameters.

    Args:
        row: The row.
        notation: Loss name -> name and symbols of the paper.
    """
    name = latex_entry_name(row, notation)
    if row.label == row.entry:
        return name
    symbols, names = notation.get(row.loss.name, _NONE).symbols, row.varied_names
    values = [
        _parameter(names[key], value, symbols.get(key, "")) for key, value in row.varied.items()
    ]
    if re.search(rf"[(,]{UNTUNED}\)$", row.label):
        values.append(UNTUNED)
    return f"{name} ({', '.join(values)})" if values else name


def latex_entry_name(row: Row, notation: Mapping[str, Notation]) -> str:
    """Name of a row without parameters: the label of the user, or the paper's name of the loss."""
    if row.entry_label:
        return latex_label(row.entry_label)
    return latex_text(notation.get(row.loss.name, _NONE).title or row.loss.name)


def _parameter(name: str, value: Any, symbol: str) -> str:
    number = latex_number(value)
    if symbol and number:
        return f"${symbol} = {number}$"
    shown = f"${symbol}$" if symbol else latex_text(name)
    return f"{shown} = {f'${number}$' if number else latex_text(short_value(value))}"


def latex_number(value: Any) -> str:
    r"""A number in math mode: `0.3`, `10^{-5}`, `3 \times 10^{-5}`; empty for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    found = _NUMBER.fullmatch(short_value(value))
    if found is None:
        return ""
    sign, digits, exponent_sign, exponent = found.groups()
    if exponent is None:
        return f"{sign}{digits}"
    power = f"10^{{{exponent_sign.replace('+', '')}{exponent}}}"
    return f"{sign}{power}" if digits == "1" else rf"{sign}{digits} \times {power}"


class LatexKeys:
    r"""Distinct keys for `\label`."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def key(self, *parts: str, between: str = "-") -> str:
        """A key such as `tab:digits-error`, with a number if it was returned before."""
        base = "tab:" + between.join(self._clean(parts))
        key, number = base, 2
        while key in self._given:
            key, number = f"{base}-{number}", number + 1
        self._given.add(key)
        return key

    @staticmethod
    def _clean(parts: Iterable[str]) -> list[str]:
        return [re.sub(r"[^A-Za-z0-9._+-]+", "-", part).strip("-") or "x" for part in parts]
