//go:build !linux

package repl

import "time"

func newTicker(interval time.Duration) ticker { return plainTicker{time.NewTicker(interval)} }
