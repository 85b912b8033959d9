"""The pages of a training run; a part of them is asked for again while it grows."""

from flask import Flask, Response, abort, render_template

from factory.browse.opened import Library
from factory.browse.places import Item
from factory.browse.trainings import HEIGHT, LEFT, WIDTH, read_training, training_picture


def add_to(app: Flask, library: Library) -> None:
    """Add these pages to an application."""

    def training_or_404(name: str) -> Item:
        item = library.places.get(name, "training")
        if item is None:
            abort(404, f"There is no training run {name} at the places that are shown.")
        return item

    def page(template: str, name: str) -> str:
        item = training_or_404(name)
        return render_template(
            template,
            item=item,
            training=read_training(item),
            plot={"width": WIDTH, "height": HEIGHT, "left": LEFT},
        )

    @app.get("/trainings/<name>/")
    def training(name: str) -> str:
        return page("training.html", name)

    @app.get("/trainings/<name>/live")
    def live(name: str) -> str:
        return page("training_live.html", name)

    @app.get("/trainings/<name>/pictures/<picture>")
    def training_png(name: str, picture: str) -> Response:
        return Response(training_picture(training_or_404(name), picture), mimetype="image/png")
