package cmd

import (
	"bytes"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"
)

// isText reports whether a value is shown line by line.
func isText(value []byte) bool { return utf8.Valid(value) && bytes.IndexByte(value, 0) < 0 }

// unifiedDiff returns the lines that differ between two texts, as diff -u shows them; nothing if none does.
func unifiedDiff(from, to string, a, b []byte) string {
	return udiff.Unified(from, to, string(a), string(b))
}
