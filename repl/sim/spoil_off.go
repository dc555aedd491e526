//go:build !plantedbugs

package sim

// flawsDrawn are the kinds of flaws that runs draw: without the build tag plantedbugs nothing
// makes faults of memory.
var flawsDrawn = []FlawKind{FlawSkipped, FlawTwice}

func (x *flaws) spoil(*watched, *flaw) {}
