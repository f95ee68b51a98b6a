"""Storage of trials in MLflow; the only package that imports mlflow.

MLflow reads environment variables on import, so the defaults for its output and its requests are
set here. Variables that are already set are kept.
"""

import os

MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # results wait in the outbox, not in a retry
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server may ask for an hour
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # failures become a TrackingError of one line
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
for _key, _value in MLFLOW_DEFAULTS.items():
    os.environ.setdefault(_key, _value)
