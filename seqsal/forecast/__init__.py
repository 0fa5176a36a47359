"""What `seqsal run` would do: everything checked, a few windows tried, nothing written into the folder."""

from seqsal.forecast.result import Forecast
from seqsal.forecast.run import forecast_run

__all__ = ["Forecast", "forecast_run"]
