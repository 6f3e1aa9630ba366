package fakeatomos

import "testing"

// BenchmarkAllocation finds threads for one VM more on a host that has 62, which is what 16
// hosts have of 1,000.
func BenchmarkAllocation(b *testing.B) {
	p := processors{cores: 32, smt: 2}
	var claims []claim
	for range 62 {
		threads, _ := p.place(claims, 2, defaultOverprovision, false)
		claims = append(claims, claim{threads, defaultOverprovision})
	}
	for b.Loop() {
		if threads, _ := p.place(claims, 2, defaultOverprovision, false); threads == nil {
			b.Fatal("the host has no room")
		}
	}
}
