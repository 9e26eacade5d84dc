"""What a run reads: its photos, pairs and a frozen backbone's features."""
