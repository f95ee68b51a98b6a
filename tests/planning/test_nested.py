from __future__ import annotations

from lossbench.planning.nested import component_text, flatten, is_component

CONTENT = {
    "loss": {"name": "lgm", "params": {"alpha": 0.3, "sizes": [1, 2]}},
    "name": "top",
    "model": {"name": "cnn", "params": {}},
    "recipe": {"optimizer": {"name": "sgd", "params": {"lr": 0.1}}, "extra": None},
}


def test_omitted_keys_are_left_out_below_the_top_level() -> None:
    assert dict(flatten(CONTENT, omitted=("params",))) == {
        "loss.name": "lgm",
        "loss.alpha": 0.3,
        "loss.sizes": [1, 2],
        "name": "top",
        "model.name": "cnn",
        "model": {},
        "recipe.optimizer.name": "sgd",
        "recipe.optimizer.lr": 0.1,
        "recipe.extra": None,
    }
    names_too = list(flatten(CONTENT, omitted=("name", "params")))
    assert names_too[0] == ("loss", "lgm")
    assert ("name", "top") in names_too
    assert ("recipe.optimizer", "sgd") in names_too


def test_components_as_text() -> None:
    crop = {"name": "random_crop", "params": {"padding": 4, "fill": 0}}
    assert is_component(crop)
    assert not is_component({"name": "random_crop"})
    assert component_text(crop, str) == "random_crop(padding=4, fill=0)"
    assert component_text({"name": "mirror", "params": {}}, str) == "mirror"
