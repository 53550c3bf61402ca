package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"mtls.egress/webhook/api/v1alpha1"
	"mtls.egress/webhook/internal/egress"
	"mtls.egress/webhook/test/actor/caller"
	"mtls.egress/webhook/test/actor/partner"
	"mtls.egress/webhook/test/scene"
)

func answered(result caller.Result) bool { return result.Status == http.StatusOK }

func refusedBySidecar(result caller.Result) bool {
	return result.Status == http.StatusServiceUnavailable
}

func ledNowhere(result caller.Result) bool { return result.Outcome == caller.OutcomeTimeout }

// call shows the call that works.
func (d *demo) call(ctx context.Context) error {
	d.title("The call")
	result, err := d.get(ctx, deployment, "http://"+host+"/secured-endpoint", answered)
	if err != nil {
		return err
	}
	var answer partner.Answer
	if err := json.Unmarshal([]byte(result.Body), &answer); err != nil {
		return fmt.Errorf("read the partner's answer: %w", err)
	}
	if answer.Client == nil {
		return errors.New("the partner saw no client certificate")
	}
	d.says("", "its body has the client's name as the partner saw it: "+answer.Client.Subject)
	if err := d.hasAsked(ctx, deployment); err != nil {
		return err
	}
	_, err = d.partnerSaw(ctx, partner.Filter{Path: "/secured-endpoint"})
	return err
}

// hasAsked keeps the address of an app's Pod for the sum at the end.
func (d *demo) hasAsked(ctx context.Context, app string) error {
	pod, err := d.scene.ReadyPod(ctx, namespace, app)
	if err != nil {
		return err
	}
	d.asked = append(d.asked, pod.Status.PodIP)
	return nil
}

// withoutAnnotation shows what happens today.
func (d *demo) withoutAnnotation(ctx context.Context) error {
	d.title("1. Without the annotation: as it always was, in plain text")
	if err := d.scene.Deploy(ctx, scene.App{Namespace: namespace, Name: "unannotated"}); err != nil {
		return err
	}
	if _, err := d.get(ctx, "unannotated", "http://"+host+"/without-annotation", answered); err != nil {
		return err
	}
	_, err := d.partnerSaw(ctx, partner.Filter{Path: "/without-annotation"})
	return err
}

// withoutSecret shows a Pod that waits.
func (d *demo) withoutSecret(ctx context.Context) error {
	d.title("2. Without the Secret: the Pod waits, and both the kubelet and the controller say for what")
	if err := d.scene.CreateNamespace(ctx, withoutSecret); err != nil {
		return err
	}
	app := scene.App{
		Namespace:   withoutSecret,
		Name:        deployment,
		Annotations: scene.Target(host),
		Loops:       []string{"http://" + host + "/without-secret"},
	}
	if err := d.scene.Deploy(ctx, app); err != nil {
		return err
	}
	mount, err := d.event(ctx, withoutSecret, "FailedMount")
	if err != nil {
		return err
	}
	d.says("kubelet", mount)
	var condition string
	if err := scene.Until(ctx, "the condition of the EgressTarget", func(ctx context.Context) error {
		condition, err = d.condition(ctx, withoutSecret, v1alpha1.ConditionCredentialValid)
		return err
	}); err != nil {
		return err
	}
	d.says("egt", condition)
	pods, stderr, err := d.kubectl(ctx, "", "get", "pods", "-n", withoutSecret)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, stderr)
	}
	d.Indented(pods)
	_, err = d.partnerSaw(ctx, partner.Filter{Path: "/without-secret"})
	return err
}

// event waits for an event with a reason and returns what it says.
func (d *demo) event(ctx context.Context, namespace, reason string) (message string, err error) {
	err = scene.Until(ctx, "the event "+reason, func(ctx context.Context) error {
		events, err := d.scene.Client.CoreV1().
			Events(namespace).
			List(ctx, metav1.ListOptions{FieldSelector: "reason=" + reason})
		if err != nil {
			return err
		}
		if len(events.Items) == 0 {
			return errors.New("there is none yet")
		}
		message = events.Items[0].Message
		return nil
	})
	return message, err
}

// condition is what a false condition of the host's EgressTarget says.
func (d *demo) condition(ctx context.Context, namespace, kind string) (string, error) {
	stdout, _, err := d.scene.Kubectl(ctx, "get", "egresstarget", host, "--namespace", namespace, "--output=json")
	if err != nil {
		return "", err
	}
	var egressTarget v1alpha1.EgressTarget
	if err := json.Unmarshal([]byte(stdout), &egressTarget); err != nil {
		return "", err
	}
	condition := meta.FindStatusCondition(egressTarget.Status.Conditions, kind)
	if condition == nil || condition.Status != metav1.ConditionFalse {
		return "", fmt.Errorf("it has no false condition %s yet", kind)
	}
	return condition.Reason + ": " + condition.Message, nil
}

// withWrongName shows a partner whose certificate is for other names.
func (d *demo) withWrongName(ctx context.Context) error {
	d.title("3. With a partner that can't prove its name: the sidecar ends the handshake")
	annotations := scene.Target(scene.OtherName)
	annotations[egress.AnnotationSecret] = "external-system-mtls-data"
	if err := d.scene.Deploy(ctx, scene.App{
		Namespace:   namespace,
		Name:        "wrong-name",
		Annotations: annotations,
	}); err != nil {
		return err
	}
	d.says("name", scene.OtherName+" leads to the same partner, whose certificate doesn't carry it")
	if err := d.programmed(ctx, namespace, scene.OtherName); err != nil {
		return err
	}
	if _, err := d.get(ctx, "wrong-name", "http://"+scene.OtherName+"/wrong-name", refusedBySidecar); err != nil {
		return err
	}
	if err := d.hasAsked(ctx, "wrong-name"); err != nil {
		return err
	}
	_, err := d.partnerSaw(ctx, partner.Filter{Remote: d.asked[len(d.asked)-1]})
	return err
}

// withoutDestinationRule shows what keeps a missing object from becoming plain text.
func (d *demo) withoutDestinationRule(ctx context.Context) error {
	d.title("4. With the DestinationRule deleted: refused; forced, nothing leaves")
	remove := []string{"delete", "destinationrule", "mtls-egress-" + host, "-n", namespace}
	_, stderr, err := d.kubectl(ctx, "", remove...)
	if err == nil {
		return errors.New("the policy let an administrator delete the DestinationRule")
	}
	d.says("kubectl", strings.TrimSpace(stderr))
	d.Sayf(
		"\n  The policy switched off for the namespace, which the chart's values allow, and the controller,\n  which would " +
			"repair it, stopped:\n",
	)
	for _, args := range [][]string{
		{"label", "namespace", namespace, "mtls.egress/protection=off"},
		{"scale", "deployment", scene.Controller, "-n", scene.Namespace, "--replicas=0"},
		{"wait", "pod", "-n", scene.Namespace, "-l", scene.ControllerLabel, "--for=delete", "--timeout=2m"},
		remove,
	} {
		if err := d.must(ctx, args...); err != nil {
			return err
		}
	}
	if err := d.nothingLeaves(ctx, "/without-destination-rule", refusedBySidecar); err != nil {
		return err
	}
	d.Sayf("\n  The other objects gone as well:\n")
	for _, kind := range []string{"virtualservice", "serviceentry"} {
		if err := d.must(ctx, "delete", kind, "--all", "-n", namespace); err != nil {
			return err
		}
	}
	if err := d.nothingLeaves(ctx, "/without-everything", ledNowhere); err != nil {
		return err
	}
	d.Sayf("\n  The controller back, the policy on again: it repairs.\n")
	for _, args := range [][]string{
		{"scale", "deployment", scene.Controller, "-n", scene.Namespace, "--replicas=2"},
		{"label", "namespace", namespace, "mtls.egress/protection-"},
	} {
		if err := d.must(ctx, args...); err != nil {
			return err
		}
	}
	if _, err := d.get(ctx, deployment, "http://"+host+"/repaired", answered); err != nil {
		return err
	}
	_, err = d.partnerSaw(ctx, partner.Filter{Path: "/repaired"})
	return err
}

// nothingLeaves waits until calls have an outcome, makes one call, and shows that the partner saw
// nothing of it.
func (d *demo) nothingLeaves(ctx context.Context, path string, reached func(caller.Result) bool) error {
	pod, err := d.scene.ReadyPod(ctx, namespace, deployment)
	if err != nil {
		return err
	}
	// Until the sidecar knows of the change, calls are answered, over mutual TLS. They have a path of
	// their own.
	if _, err := d.until(ctx, pod, "http://"+host+"/until"+path, reached); err != nil {
		return err
	}
	if _, err := d.get(ctx, deployment, "http://"+host+path, reached); err != nil {
		return err
	}
	connections, err := d.partnerSaw(ctx, partner.Filter{Path: path})
	if err == nil && len(connections) > 0 {
		err = fmt.Errorf("the partner saw %d connections of %s", len(connections), path)
	}
	return err
}

// total adds up what the partner received in plain text from Pods that asked.
func (d *demo) total(ctx context.Context) error {
	d.title("In all, from the Pods that asked")
	connections, requests, bytes := 0, 0, int64(0)
	for _, address := range d.asked {
		saw, err := d.scene.Partner().Summary(ctx, partner.Filter{Remote: address})
		if err != nil {
			return err
		}
		connections += saw.Connections
		requests += saw.Requests
		bytes += saw.PlaintextBytes
	}
	d.says("partner", fmt.Sprintf("%d connections, %d requests, %d bytes in plain text", connections, requests, bytes))
	if bytes != 0 {
		return fmt.Errorf("%d bytes came in plain text", bytes)
	}
	return nil
}
