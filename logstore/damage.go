package logstore

import "fmt"

// Damage is what is wrong with the log, and where. It wraps [ErrDamaged].
type Damage struct {
	File   string
	Offset int64  // of the batch or the record
	Record string // what stood there, as far as that can be told
	Reason string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %s: %s", d.File, d.Offset, d.Record, d.Reason)
}

// Unwrap makes every Damage an [ErrDamaged].
func (d *Damage) Unwrap() error { return ErrDamaged }
