"""One page, several characters: sessions, the thread that moves them in one batch, uploads, downloads, the guard."""
