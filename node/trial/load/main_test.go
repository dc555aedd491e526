package load

import (
	"os"
	"testing"

	"muster/node/trial/clustertest"
)

func TestMain(m *testing.M) {
	if where := os.Getenv(attackVariable); where != "" {
		attack(where)
		return
	}
	clustertest.MainAlone(m)
}
