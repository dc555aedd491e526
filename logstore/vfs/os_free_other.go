//go:build !linux && !darwin && !freebsd && !dragonfly

package vfs

import "math"

// freeBytes knows no call of this system for it. That a disk is full is then
// first said by the operation that finds no space.
func freeBytes(string) (int64, error) { return math.MaxInt64, nil }
