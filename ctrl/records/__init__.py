"""What a run leaves behind: history, input log, alarms and KPIs."""
