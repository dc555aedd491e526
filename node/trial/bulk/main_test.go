package bulk

import (
	"testing"

	"muster/node/trial/clustertest"
)

func TestMain(m *testing.M) { clustertest.Main(m) }
