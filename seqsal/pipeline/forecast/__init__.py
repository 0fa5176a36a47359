"""What `seqsal run` would do: everything checked, a few windows tried, nothing written into the folder."""

from seqsal.pipeline.forecast.result import Forecast
from seqsal.pipeline.forecast.run import forecast_run

__all__ = ["Forecast", "forecast_run"]
