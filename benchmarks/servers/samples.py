"""The samples' design for one predictor: FastAPI, pydantic, sync endpoints, two log lines.

Written after the published samples of the serving patterns, which most users start from; run under
gunicorn with uvicorn's worker class and `samples_logging.ini`. `BENCH_MODEL` names the model.
"""

import logging
import os
import uuid
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

logger = logging.getLogger(__name__)


class Data(BaseModel):
    """The body of a prediction request."""

    data: list[list[float]] = [[5.1, 3.5, 1.4, 0.2]]


class Classifier:
    """A model opened with the runtime's default options."""

    def __init__(self, path: str) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name

    def predict(self, data: list[list[float]]) -> list[Any]:
        """Runs the model, asks for every output, and logs the scores."""
        rows = np.array(data).astype(np.float32)
        scores = self.session.run(None, {self.input_name: rows})[-1]
        if isinstance(scores, list):
            scores = [np.array(list(row.values())) for row in scores]
        output = np.array(scores[0]) if len(rows) == 1 else np.array(scores)
        logger.info(f"predict proba {output}")
        answer: list[Any] = output.tolist()
        return answer


classifier = Classifier(os.environ["BENCH_MODEL"])
app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    """Says that the process is live."""
    return {"health": "ok"}


@app.post("/predict")
def predict(data: Data) -> dict[str, list[Any]]:
    """Answers one prediction."""
    job_id = str(uuid.uuid4())
    prediction = classifier.predict(data.data)
    logger.info(f"{job_id}: {prediction}")
    return {"prediction": prediction}
