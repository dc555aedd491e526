package shardmap

import (
	"cmp"
	"slices"
	"sort"
	"strings"
)

// Prefixes finds, of some prefixes, those that a key begins with. It does not change.
type Prefixes struct {
	rows []prefixRow // by prefix
}

type prefixRow struct {
	prefix string
	outer  int // the longest other one that this one begins with; none: noPrefix
}

const noPrefix = -1

// NewPrefixes returns a finder of these prefixes, which may be in any order and stand there twice.
func NewPrefixes(prefixes []string) Prefixes {
	sorted := slices.Clone(prefixes)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	p := Prefixes{rows: make([]prefixRow, len(sorted))}
	for i, prefix := range sorted {
		p.rows[i] = prefixRow{prefix, noPrefix}
		// Prefixes that begin with another one stand behind it, and only such ones stand between.
		for outer := i - 1; outer != noPrefix; outer = p.rows[outer].outer {
			if strings.HasPrefix(prefix, sorted[outer]) {
				p.rows[i].outer = outer
				break
			}
		}
	}
	return p
}

// Len returns how many there are.
func (p *Prefixes) Len() int { return len(p.rows) }

// At returns the i-th, by prefix.
func (p *Prefixes) At(i int) string { return p.rows[i].prefix }

// Index returns the place of a prefix; false if it is none of them.
func (p *Prefixes) Index(prefix string) (int, bool) {
	return slices.BinarySearchFunc(p.rows, prefix, func(r prefixRow, prefix string) int { return cmp.Compare(r.prefix, prefix) })
}

// Longest returns the place of the longest one that key begins with, or -1. [Prefixes.Outer] of it are the others.
func (p *Prefixes) Longest(key []byte) int {
	if len(p.rows) == 0 {
		return noPrefix
	}
	// Between a prefix of the key and the key stands only what begins with that prefix: so the
	// last that is not above the key, or one that it begins with, is the longest.
	i := sort.Search(len(p.rows), func(i int) bool { return p.rows[i].prefix > string(key) }) - 1
	for i != noPrefix && !begins(key, p.rows[i].prefix) {
		i = p.rows[i].outer
	}
	return i
}

// Outer returns the place of the longest prefix that the i-th begins with, or -1.
func (p *Prefixes) Outer(i int) int { return p.rows[i].outer }

func begins(key []byte, prefix string) bool {
	return len(key) >= len(prefix) && string(key[:len(prefix)]) == prefix
}
