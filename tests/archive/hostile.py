"""Hostile and broken archives, made from a good one."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import torch

from tests.archive.alterations import (
    Change,
    Payload,
    add,
    add_entry,
    as_symlink,
    deflated,
    deflated_weights,
    expanded_weights,
    first,
    into_folder,
    npy,
    npz,
    npz_bomb,
    object_array,
    other_weights,
    raw,
    reencoded,
    replace_file,
    saved,
    set_header,
    set_manifest,
    set_value,
    substitute,
    trainings_twice,
    truncated,
    unrenewed,
    with_epochs,
    without,
)
from tests.archive.trained import contents, write


class Case(NamedTuple):
    """A hostile archive.

    Attributes:
        name: Description.
        change: Makes it from a good archive.
        said: Text of the message after the name of the file.
    """

    name: str
    change: Change
    said: str


RESULT, TRIAL, PLAN = "result.json", "trial.json", "plan.json"
RECORD = ("measurements", 0)
ID = "0123456789abcdef"


def cases() -> Iterator[Case]:
    """All hostile archives."""
    result, trial, plan = RESULT, TRIAL, PLAN
    folder = f"trainings/{ID}"
    # the zip file
    yield Case("no zip file", lambda p: p.write_bytes(b"results"), "is no archive of lossbench")
    yield Case("empty", lambda p: p.write_bytes(b""), "is no archive of lossbench")
    for share in (0.1, 0.5, 0.9, 0.999):
        yield Case(f"truncated at {share}", truncated(share), "is no archive of lossbench")
    yield Case(
        "wrong magic",
        lambda p: p.write_bytes(b"PK\x05\x06" + p.read_bytes()[100:]),
        "is no archive of lossbench",
    )
    yield Case("a folder", into_folder, "has no archives")
    for name in ("../evil.json", "/etc/evil", "trainings/../../evil", "C:/evil", "..\\evil.json"):
        yield Case(f"path {name}", add(name), f"has a file {name!r}, which no archive")
    yield Case("name with control characters", add("a\x1b[31m"), r"has a file 'a\x1b[31m'")
    yield Case("symbolic link", as_symlink, "suite.yaml: is no plain file")
    yield Case("encrypted", set_header(6, 8, 1), "is encrypted")
    yield Case("unknown compression", set_header(8, 10, 99), "compression")
    yield Case("duplicate name", add_entry(first(RESULT)), "has two files of the name 'trainings/")
    yield Case(
        "two manifests", add_entry(first("archive.json")), "two files of the name 'archive.json'"
    )
    yield Case("unlisted file", add_entry(lambda _: zipfile.ZipInfo("search_points.json")), "list")
    yield Case("listed file is missing", without("suite.yaml"), "lacks 'suite.yaml'")
    yield Case("no manifest", without("archive.json"), "it has no archive.json")
    yield Case("wrong digest", unrenewed(result), "result.json differs from its digest")
    yield Case("compressed arrays", deflated(".npz"), ".npz: is compressed in the archive")
    yield Case(
        "too many files",
        lambda p: write(
            p, {**contents(p), **{f"trainings/{k:016x}/x.npz": b"" for k in range(3000)}}
        ),
        "files, more than",
    )
    yield Case("bomb of text", add("search_points.json", content=bytes(2**25)), "bytes, more than")
    looks = {"table": "a" * 16, "metric": "error", "max_seeds": 3}
    for seeds, expected in (([0, 0], "twice"), ([0, 1, 2, 3], "more seeds"), ([-1], "seeds")):
        rounds = [{"seeds": seeds, "cells": ["b" * 16]}]
        text = json.dumps({"record": {**looks, "rounds": rounds}}).encode()
        yield Case(f"looks at seeds {seeds}", add("looks.json", content=text), expected)
    # the manifest
    yield Case("format 2", set_manifest(format=2), "has format 2; this version of lossbench reads")
    yield Case("format as text", set_manifest(format="1"), "has format '1'")
    yield Case("manifest is a list", lambda p: raw(p, b"[]"), "archive.json has no format")
    yield Case("manifest is latin-1", lambda p: raw(p, b'{"format": "\xe9"}'), "has no format")
    yield Case("manifest is nested", lambda p: raw(p, b"[" * 100_000), "has no format")
    yield Case("unknown key", set_manifest(more=1), "archive.json: more: unknown key")
    yield Case("trainings twice", lambda p: trainings_twice(p), "its list of trainings differs")
    yield Case("identity is a path", set_manifest(trainings=["../x"]), "archive.json: trainings")
    yield Case("training without files", set_manifest(trainings=[]), "its list of trainings")
    yield Case(
        "training without a result",
        add(f"{folder}/predictions.npz"),
        "its list of trainings differs",
    )
    # JSON
    for name in (trial, plan):
        yield Case(
            f"{name} is latin-1", replace_file(name, reencoded("latin-1")), f"{name}: is no valid"
        )
    for name in (trial, result, plan):
        yield Case(f"{name} is a list", replace_file(name, b"[]"), f"{name}: should be")
        yield Case(f"{name} is cut", replace_file(name, b'{"a": '), f"{name}: is no valid JSON")
        yield Case(f"{name} is nested", replace_file(name, b"[" * 100_000), f"{name}: is n")
        yield Case(f"{name} with an unknown key", set_value(name, "x", value=1), "x: unknown key")
        yield Case(
            f"{name} starts with a BOM",
            replace_file(name, lambda c: b"\xef\xbb\xbf" + c),
            f"{name}: is no valid JSON",
        )
    for text in ("NaN", "1e999"):
        new = f'"wall_time_sec": {text}, "x"'.encode()
        yield Case(text, substitute(result, b'"wall_time_sec"', new), "result.json: ")
    yield Case(
        "infinite parameter",
        substitute(trial, b'"params": {}', b'"params": {"x": 1e999}'),
        "trial.json: has a number that is too large",
    )
    yield Case(
        "number of 5,000 digits",
        replace_file(trial, lambda c: c.replace(b'"seed": 0', b'"seed": ' + b"9" * 5000)),
        "trial.json: is no valid JSON",
    )
    # trial.json and result.json
    yield Case("another seed", set_value(trial, "seed", value=77), "trial.json: specifies the")
    yield Case("another suite", set_value(trial, "suite", value="../x"), "is of suite '../x'")
    yield Case("long row", set_value(trial, "row", value="x" * 10_000), "row: should be at most")
    yield Case(
        "row with control characters",
        set_value(trial, "row", value="\x1b[2J"),
        "trial.json: has a text with control characters",
    )
    yield Case(
        "row in two lines",
        set_value(trial, "row", value="a\nb"),
        "row: should be at most 500 printable characters",
    )
    yield Case("another identity", set_value(result, "identity", value=ID), "is of the training")
    yield Case("unmeasured", set_value(result, "unmeasured", value=["error"]), "are never stored")
    yield Case(
        "metrics that were not measured",
        set_value(result, "metrics", "error", value=0.0),
        "result.json: its metrics are not those of its measurements",
    )
    yield Case(
        "measurement of another evaluation",
        set_value(result, *RECORD, "name", value="fgsm"),
        "is not fgsm",
    )
    yield Case(
        "measurement with other parameters",
        set_value(result, *RECORD, "params", value={"bins": 3}),
        "is not error",
    )
    yield Case(
        "artifact is a path",
        set_value(result, *RECORD, "artifacts", value=["../../evil"]),
        "artifacts: should have letters",
    )
    yield Case(
        "environment with control characters",
        set_value(result, "environment", "torch", value="\x1b]0;"),
        "result.json: has a text with control characters",
    )
    yield Case(
        "reason in two lines", set_value(result, "reason", value="a\nb"), "printable characters"
    )
    yield Case("unknown status", set_value(result, "status", value="best"), "status: should be")
    yield Case("more epochs than trained", with_epochs(3), "history: its epochs should")
    yield Case("epoch 0", set_value(result, "history", 0, "epoch", value=0), "history: its epochs")
    yield Case("huge epoch", set_value(result, "history", 1, "epoch", value=10**30), "history")
    yield Case(
        "time before 1970",
        set_value(result, "history", 0, "timestamp_ms", value=-1),
        "history: timestamp_ms",
    )
    yield Case("a million epochs", with_epochs(1_000_000), "result.json: has")
    # plan.json
    suite = ("suite", "suite")
    yield Case("plan of another suite", set_value(plan, *suite, value="other"), "is of suite")
    yield Case("suite is a path", set_value(plan, *suite, value="../x"), "suite.suite: should")
    yield Case(
        "seed out of range", set_value(plan, "suite", "seeds", value=[2**40]), "plan.json: suite"
    )
    yield Case(
        "variant is a path",
        set_value(plan, "suite", "variants", value={"../x": {"model": {}, "augment": []}}),
        "plan.json: suite.variants",
    )
    yield Case(
        "metric is a path",
        set_value(plan, "metrics", 0, "name", value="../../evil"),
        "plan.json: cannot be the name of a metric or of a file: '../../evil'",
    )
    yield Case(
        "artifact's key is a path",
        set_value(plan, "artifacts", 0, "key", value="..\\evil"),
        "plan.json: cannot be the name",
    )
    yield Case(
        "unit with control characters",
        set_value(plan, "metrics", 0, "unit", value="\x1b[2J"),
        "plan.json: has a text with control characters",
    )
    yield Case(
        "unit in two lines",
        set_value(plan, "metrics", 0, "unit", value="a\nb"),
        "plan.json: should be at most 500 printable characters",
    )
    yield Case(
        "warning with control characters",
        set_value(plan, "columns", "default", "facts", "warnings", value=["\x9b2J"]),
        "plan.json: has a text with control characters",
    )
    yield Case(
        "key with control characters",
        set_value(plan, "sources", value={"loss \x1b[2J": "0"}),
        "plan.json: has a text with control characters",
    )
    yield Case("no rows", set_value(plan, "rows", value=[]), "rows: should be at least one")
    yield Case("no metrics", set_value(plan, "metrics", value=[]), "metrics: should be at least")
    yield Case(
        "schedule without its parameters",
        set_value(plan, "suite", "recipe", "schedule", value={"name": "multistep", "params": {}}),
        "plan.json: its parts contradict each other",
    )
    yield Case(
        "selection by an unknown metric",
        set_value(
            plan, "suite", "selection", value={"holdout": 0.2, "metric": "luck", "compare": []}
        ),
        "plan.json: its parts contradict each other",
    )
    # arrays
    arrays = "predictions.npz"
    yield Case("arrays are text", replace_file(arrays, b"text"), "is no file of plain arrays")
    yield Case("pickled object", replace_file(arrays, pickle.dumps(Payload())), "no file of plain")
    yield Case("array of objects", replace_file(arrays, object_array()), "is no plain array")
    yield Case(
        "pickle in an NPZ file",
        replace_file(arrays, npz({"labels.npy": pickle.dumps(Payload())})),
        "is no file of plain arrays",
    )
    shapes = {"huge": f"({10**13},)", "negative": "(-1,)", "flat": f"({10**18}, 0)"}
    for name, shape in shapes.items():
        header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}}}"
        yield Case(f"{name} shape", replace_file(arrays, npy(header)), "is no plain array")
    yield Case(
        "header is a program",
        replace_file(arrays, npy("__import__('pathlib').Path('payload-was-executed').touch()")),
        "is no file of plain arrays",
    )
    yield Case("bomb of arrays", lambda p: replace_file(arrays, npz_bomb())(p), "predictions.npz: ")
    # weights
    weights = "weights.pt"
    yield Case("weights are text", replace_file(weights, b"x"), "is no plain file of weights")
    yield Case(
        "weights with a pickle payload",
        replace_file(weights, saved({"model": {"weight": Payload()}, "head": {}})),
        "weights.pt: is no plain file of weights",
    )
    yield Case(
        "weights in the former format",
        replace_file(weights, saved({"model": {}, "head": {}}, zipped=False)),
        "is no plain file of weights",
    )
    yield Case("bomb of weights", replace_file(weights, deflated_weights), "is no plain file of w")
    yield Case("tensors of 4 TB", replace_file(weights, expanded_weights()), "larger than the file")
    yield Case(
        "weights of another network", replace_file(weights, other_weights), "not those of its"
    )
    yield Case("weights are a list", replace_file(weights, saved([1])), "of a model and a head")
    sparse = {"model": {"weight": torch.eye(3).to_sparse()}, "head": {}}
    yield Case("sparse weights", replace_file(weights, saved(sparse)), "has tensors that are not")
