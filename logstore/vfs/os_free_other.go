//go:build !linux && !darwin && !freebsd && !dragonfly

package vfs

import "math"

// freeBytes knows no such call of this system. The operation that finds no space is
// then the first to say that the disk is full.
func freeBytes(string) (int64, error) { return math.MaxInt64, nil }
