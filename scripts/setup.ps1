# scripts\setup.ps1 [-Extras EXTRAS]: what scripts/setup.sh does, for Windows: make .venv with the dependencies of
# pyproject.toml, in the versions of requirements.lock. EXTRAS: "train,figures" by default; "test" has all of them.
# $env:PYTHON = "C:\path\to\python.exe" picks another Python. Runs in Windows PowerShell 5.1 and PowerShell 7.
param([string]$Extras = "train,figures")
$ErrorActionPreference = "Stop"
Set-Location (Split-Path -Parent $PSScriptRoot)

function Stop-WithError([string]$Text) {
    [Console]::Error.WriteLine("error: $Text")
    exit 2
}

# Whether a program can be run and ends well; what it says is kept from the terminal.
function Test-Command([string]$Program, [string[]]$Arguments) {
    if (-not (Get-Command $Program -ErrorAction SilentlyContinue)) { return $false }
    $ErrorActionPreference = "Continue"
    & $Program @Arguments *> $null
    return $LASTEXITCODE -eq 0
}

# .venv\installed-EXTRAS says from which files it was installed.
$venv = Join-Path ".venv" "Scripts\python.exe"
$wanted = (Get-FileHash pyproject.toml).Hash + " " + (Get-FileHash requirements.lock).Hash
foreach ($done in $Extras, "test") {
    $mark = Join-Path ".venv" "installed-$done"
    if ((Test-Path $mark) -and ((Get-Content $mark -TotalCount 1) -eq $wanted) -and (Test-Command $venv @("-c", "pass"))) {
        exit 0
    }
}

# The launcher, py, knows every Python of python.org; "python" may be the Microsoft Store's stand-in, which runs nothing.
$recent = "import sys; sys.exit(sys.version_info < (3, 11))"
$choices = @(@("py", "-3"), @("python"), @("python3"))
if ($env:PYTHON) { $choices = @(, @($env:PYTHON)) }
$python = $null
foreach ($choice in $choices) {
    $before = @($choice | Select-Object -Skip 1)
    if (Test-Command $choice[0] ($before + @("-c", $recent))) {
        $python = $choice
        break
    }
}
if ($null -eq $python) {
    Stop-WithError "there is no Python 3.11 or newer; install it from python.org, or: winget install Python.Python.3.12"
}
$before = @($python | Select-Object -Skip 1)
& $python[0] @before -m venv .venv
if ($LASTEXITCODE -ne 0) { Stop-WithError "$($python[0]) cannot make virtual environments; install Python from python.org" }

# PyPI's PyTorch for Windows has no CUDA: with an NVIDIA GPU, PyTorch's own index has one.
$log = Join-Path ".venv" "install.log"
Write-Host "Installing into .venv, once; some minutes ..."
$ErrorActionPreference = "Continue"
& $venv -m pip install --disable-pip-version-check --progress-bar off --constraint requirements.lock ".[$Extras]" *> $log
$failed = $LASTEXITCODE -ne 0
$ErrorActionPreference = "Stop"
if ($failed) {
    Get-Content $log -Tail 15 | ForEach-Object { [Console]::Error.WriteLine($_) }
    Stop-WithError "pip could not install the dependencies; all that it said is in $log"
}
Set-Content (Join-Path ".venv" "installed-$Extras") $wanted
exit 0
