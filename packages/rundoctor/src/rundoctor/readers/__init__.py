"""From files to series: TensorBoard events, CSV, run directories."""
