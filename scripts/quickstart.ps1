# powershell -ExecutionPolicy Bypass -File scripts\quickstart.ps1 "a sentence"
# What scripts/quickstart.sh does, for Windows: from nothing to demo_output\ with the motion as .npy, .bvh and .mp4.
param([string]$Text = "an old person walks forward and turns left")
$ErrorActionPreference = "Stop"
& (Join-Path $PSScriptRoot "setup.ps1")
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
Set-Location (Split-Path -Parent $PSScriptRoot)
$python = Join-Path ".venv" "Scripts\python.exe"
& $python demo_t2m.py --text $Text --format "npy,bvh,mp4"
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
Write-Host @"

Next:
  powershell -ExecutionPolicy Bypass -File scripts\quickstart.ps1 "a person waves both hands"    another sentence
  .venv\Scripts\python demo_stream.py --interactive                                  type while the character moves
  powershell -ExecutionPolicy Bypass -File scripts\setup.ps1 live
  .venv\Scripts\python demo_live.py                                                  the same on a page in your browser
"@
