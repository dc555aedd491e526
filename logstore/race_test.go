//go:build race

package logstore

const raceOn = true
