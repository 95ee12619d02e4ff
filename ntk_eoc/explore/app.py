# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""The app: sliders on top, panels below. Run by `ntk-eoc explore`."""

import marimo

# Without an annotation: marimo knows a notebook by this very assignment.
app = marimo.App(width="medium", app_title="ntk_eoc: explore")


@app.cell
def _():
    import jax
    import marimo as mo

    from ntk_eoc.activations.named import NAMED
    from ntk_eoc.explore import views

    jax.config.update("jax_enable_x64", True)
    return NAMED, mo, views


@app.cell
def _(NAMED, mo):
    name = mo.ui.dropdown(["a s + b|s|", *sorted(NAMED)], value="relu", label="activation")
    own = mo.ui.text(label="or FILE.py:NAME", debounce=True)
    a = mo.ui.slider(-1, 1, 0.05, value=0.5, label="a", show_value=True)
    b = mo.ui.slider(0.05, 1, 0.05, value=0.5, label="b", show_value=True)
    depth = mo.ui.slider(
        steps=[2, 3, 4, 5, 6, 8, 12, 16, 32, 64], value=4, label="depth l", show_value=True
    )
    m = mo.ui.slider(
        steps=[8, 16, 32, 64, 128, 256, 512, 1024], value=64, label="width m", show_value=True
    )
    schedule = mo.ui.dropdown(
        ["quadratic", "linear", "constant"], value="quadratic", label="schedule"
    )
    dataset = mo.ui.dropdown(["sphere:8", "sphere:64", "digits"], value="sphere:8", label="data")
    seed = mo.ui.slider(0, 20, 1, value=0, label="network", show_value=True)
    gamma1 = mo.ui.slider(steps=[0.25, 0.5, 1, 2], value=0.5, label="γ₁", show_value=True)
    gamma2 = mo.ui.slider(steps=[0.25, 0.5, 1, 2], value=1, label="γ₂", show_value=True)
    mo.vstack(
        [
            mo.md("# K(θ) beside K∞, at the edge of chaos"),
            mo.hstack([name, own, a, b], justify="start", wrap=True),
            mo.hstack([depth, m, schedule, dataset, seed], justify="start", wrap=True),
            mo.hstack([gamma1, gamma2], justify="start", wrap=True),
        ]
    )
    return a, b, dataset, depth, gamma1, gamma2, m, name, own, schedule, seed


@app.cell
def _(a, b, mo, name, own, views):
    try:
        wanted = own.value or ("" if name.value == "a s + b|s|" else name.value)
        act = views.chosen(wanted, a.value, b.value)
        init = views.point(act)
    except (ValueError, TypeError) as error:
        mo.stop(True, mo.callout(mo.md(str(error)), kind="danger"))
    mo.md(f"**{act.name}** at its edge of chaos: {views.edge_words(init)}")
    return act, init


@app.cell
def _(act, dataset, depth, gamma1, gamma2, init, m, mo, views, schedule, seed):
    network = (dataset.value, depth.value, m.value, schedule.value)
    shown = [
        views.html("The activation φ", views.activation_figure, init),
        views.html("What a layer does to angles, and K∞", views.angle_figure, init, depth.value),
        views.html("Depth and the condition number", views.condition_figure, init, dataset.value),
        views.html(
            "The predicted error, and the width for 5 %", views.width_figure, init, *network
        ),
        views.html("One network beside K∞", views.network_figure, init, *network, seed.value),
        views.html("[Q]'s law", views.law_figure, act, gamma1.value, gamma2.value),
    ]
    grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr));gap:1rem"
    mo.Html(f'<div style="{grid}">{"".join(shown)}</div>')
    return


if __name__ == "__main__":
    app.run()
