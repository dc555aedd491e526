package repl

import "time"

// ticker sends the time at intervals, as a [time.Ticker] does.
type ticker interface {
	// channel has room for one time. Others are dropped until it is taken.
	channel() <-chan time.Time
	// reset begins anew with another interval. One more time of before may come.
	reset(interval time.Duration)
	stop()
}

// plainTicker is the runtime's.
type plainTicker struct{ *time.Ticker }

func (t plainTicker) channel() <-chan time.Time    { return t.C }
func (t plainTicker) reset(interval time.Duration) { t.Reset(interval) }
func (t plainTicker) stop()                        { t.Stop() }
