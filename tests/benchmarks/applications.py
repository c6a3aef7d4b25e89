"""What the decision is measured against: the same application's echo route, and the endpoint that a tutorial builds."""

import os
from pathlib import Path

import joblib
import pandas as pd
from flask import Flask, Response, jsonify, request

from serving.app import create_app


def with_echo() -> Flask:
    """The service, and a route that sends the body back: what Flask and the server cost by themselves."""
    app = create_app()

    @app.post("/echo")
    def echo() -> Response:
        return Response(request.get_data(cache=False), content_type="application/json")

    return app


def tutorial() -> Flask:
    """A scikit-learn pipeline from joblib and a data frame a request: no history, no store, no reasons."""
    app = Flask("tutorial")
    pipeline = joblib.load(Path(os.environ["TUTORIAL_PIPELINE"]))

    @app.post("/predict")
    def predict() -> Response:
        frame = pd.DataFrame([request.get_json()])
        score = float(pipeline.predict_proba(frame)[0, 1])
        return jsonify({"score": score, "decision": "approve" if score < 0.1 else "review"})

    return app
