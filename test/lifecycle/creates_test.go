package lifecycle

import (
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/test/scene"
)

// How often Pods are created: most only to see what admission says, every second one that is
// stored.
const (
	pace   = 10 * time.Millisecond
	stored = time.Second
)

// creates counts annotated Pods that are created without a pause.
type creates struct {
	Created, Stored, Failed, Missed int
	// Problems are the first ones.
	Problems []string
}

// createPods creates annotated Pods, none of which starts, until it is told to stop, and counts
// them.
func createPods(t *testing.T, s *scene.Scene, namespace string) (stop func() creates) {
	t.Helper()
	done := make(chan struct{})
	var count creates
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(pace)
		defer ticker.Stop()
		last := time.Now()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			store := time.Since(last) >= stored
			if store {
				last = time.Now()
			}
			count.add(t, s, namespace, store)
		}
	})
	return sync.OnceValue(func() creates {
		close(done)
		running.Wait()
		return count
	})
}

func (c *creates) add(t *testing.T, s *scene.Scene, namespace string, store bool) {
	pods := s.Client.CoreV1().Pods(namespace)
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	if store {
		options = metav1.CreateOptions{}
		c.Stored++
	}
	c.Created++
	made, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "meanwhile-", Annotations: scene.Target(host)},
		Spec: corev1.PodSpec{
			SchedulingGates: []corev1.PodSchedulingGate{{Name: "mtls.egress/test"}},
			Containers:      []corev1.Container{{Name: "app", Image: s.Image("actor")}},
		},
	}, options)
	switch {
	case err != nil:
		c.Failed++
		c.note(err.Error())
		return
	case made.Labels["to.mtls.egress/"+host] != "true" || len(made.Spec.HostAliases) != 1:
		c.Missed++
		c.note(fmt.Sprintf("admitted without being injected: labels %v, aliases %v", made.Labels, made.Spec.HostAliases))
	}
	if store {
		if err := pods.Delete(t.Context(), made.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
			c.note(err.Error())
		}
	}
}

func (c *creates) note(problem string) {
	const shown = 5
	if len(c.Problems) < shown {
		c.Problems = append(c.Problems, problem)
	}
}
