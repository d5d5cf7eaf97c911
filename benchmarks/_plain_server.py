"""The plain way to serve a model, as many tutorials have it, to measure ours against: FastAPI, torch, Pillow.

python -m benchmarks._plain_server RUN PORT
"""

import io
import sys
from pathlib import Path

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request  # type: ignore[import-not-found] # of tests/reference.lock
from PIL import Image

from samebench.runs.run import Run
from samebench.training.model import Model


def application(run: Run) -> FastAPI:
    """POST /predict takes a picture as it is and answers as ours does."""
    app = FastAPI()
    model = Model.load(run.weights)
    model.network.eval()

    @app.post("/predict")  # type: ignore[untyped-decorator]
    async def predict(request: Request) -> dict[str, object]:
        image = Image.open(io.BytesIO(await request.body())).convert("L").resize((28, 28))
        pixels = torch.from_numpy(np.asarray(image).copy())[None, None]
        probabilities = model.predict({"images": pixels})["probabilities"][0]
        best = int(probabilities.argmax())
        told = dict(zip(model.spec["labels"], probabilities.tolist(), strict=True))
        return {
            "category": model.spec["labels"][best],
            "confidence": float(probabilities[best]),
            "probabilities": told,
            "warnings": [],
        }

    return app


if __name__ == "__main__":
    torch.set_num_threads(1)
    uvicorn.run(application(Run.open(Path(sys.argv[1]))), port=int(sys.argv[2]), log_level="warning")
