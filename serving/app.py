"""The Flask application: `create_app` builds everything from settings."""

from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

from serving import logs, metrics
from serving.api import problems
from serving.api.health import health
from serving.api.routes import OpaqueId, api
from serving.components import NAME, Components, build
from serving.housekeeping import Housekeeping
from serving.settings import Settings
from serving.store.embedded import database_url


def create_app(parts: Components | None = None) -> Flask:
    """An application on real parts; without any, they are built from the environment."""
    if parts is None:
        settings = Settings.from_environment()
        parts = build(settings, database_url(settings))
    logs.configure(parts.settings.log_level)
    app = Flask("serving", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = parts.settings.max_body_bytes
    # Ids are opaque: nothing in a path is tidied up.
    app.url_map.merge_slashes = False
    app.url_map.converters["opaque_id"] = OpaqueId
    app.extensions[NAME] = parts
    app.register_blueprint(api)
    app.register_blueprint(health)
    problems.register(app)

    @app.before_request
    def plain_path() -> None:
        # A rule of a proxy in front for "/metrics" would let "//metrics" through.
        if request.environ["PATH_INFO"].startswith("//"):
            raise NotFound

    @app.after_request
    def finish(response: Response) -> Response:
        metrics.answered(response.status_code).inc()
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response

    housekeeper = Housekeeping(parts)
    housekeeper.start()
    app.extensions["housekeeping"] = housekeeper
    return app
