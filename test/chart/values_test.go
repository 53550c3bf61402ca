package chart

import (
	"strings"
	"testing"
)

func TestValuesThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		set  string
		want string
	}{
		"an unknown value": {set: `replicaes=3`, want: "additional properties 'replicaes' not allowed"},
		"an unknown value in a section": {
			set:  `webhook.failurepolicy="Fail"`,
			want: "at '/webhook': additional properties 'failurepolicy' not allowed",
		},
		"an unknown section of the image": {
			set:  `image.platform="linux/arm64"`,
			want: "at '/image': additional properties 'platform' not allowed",
		},
		"a registry with a scheme": {
			set:  `image.registry="https://example.com"`,
			want: "at '/image/registry': 'https://example.com' does not match pattern",
		},
		"a registry of all charts with a scheme": {
			set:  `global.imageRegistry="https://example.com"`,
			want: "at '/global/imageRegistry': 'https://example.com' does not match pattern",
		},
		"a repository with its tag": {
			set:  `image.repository="example.com/webhook:v2"`,
			want: "at '/image/repository': 'example.com/webhook:v2' does not match pattern",
		},
		"a pull Secret of all charts without a name": {
			set:  `global.imagePullSecrets=[{"secret": "registry"}]`,
			want: "at '/global/imagePullSecrets/0': 'anyOf' failed",
		},
		"a namespace of all objects that Kubernetes refuses": {
			set:  `namespaceOverride="My_Namespace"`,
			want: "at '/namespaceOverride': 'My_Namespace' does not match pattern",
		},
		"an annotation of all objects that is no text": {
			set:  `commonAnnotations={"team": 1}`,
			want: "at '/commonAnnotations/team': got number, want string",
		},
		"a port that only root can open": {
			set:  `webhook.port=443`,
			want: "at '/webhook/port': minimum: got 443, want 1,024",
		},
		"a port of the controller": {
			set:  `controller.port=9443`,
			want: "at '/controller': additional properties 'port' not allowed",
		},
		"the network of the node for the controller": {
			set:  `controller.deployment.hostNetwork=true`,
			want: "at '/controller/deployment': additional properties 'hostNetwork' not allowed",
		},
		"an unknown IP family": {
			set:  `webhook.service.ipFamilies=["ipv4"]`,
			want: "at '/webhook/service/ipFamilies/0': value must be one of 'IPv4', 'IPv6'",
		},
		"an unknown policy for IP families": {
			set:  `controller.service.ipFamilyPolicy="DualStack"`,
			want: "at '/controller/service/ipFamilyPolicy': value must be one of",
		},
		"an unknown strategy": {
			set:  `webhook.deployment.strategy.type="OnDelete"`,
			want: "at '/webhook/deployment/strategy/type': value must be one of 'RollingUpdate', 'Recreate'",
		},
		"an unknown DNS policy": {
			set:  `webhook.deployment.dnsPolicy="ClusterLast"`,
			want: "at '/webhook/deployment/dnsPolicy': value must be one of",
		},
		"a probe with another path": {
			set:  `webhook.deployment.readinessProbe={"httpGet": {"path": "/"}}`,
			want: "at '/webhook/deployment/readinessProbe': additional properties 'httpGet' not allowed",
		},
		"a mount without a path": {
			set:  `controller.deployment.extraVolumeMounts=[{"name": "a"}]`,
			want: "at '/controller/deployment/extraVolumeMounts/0': missing property 'mountPath'",
		},
		"objects as one text": {
			set:  `extraObjects="{}"`,
			want: "at '/extraObjects': got string, want array",
		},
		"an alert that there isn't": {
			set:  `prometheusRule.disabledAlerts=["MTLSEgressConflicts"]`,
			want: "at '/prometheusRule/disabledAlerts/0': value must be one of 'MTLSEgressCredentialExpires',",
		},
		"a runbook without its host": {
			set:  `prometheusRule.runbookURL="docs/reference/alerts.md"`,
			want: "at '/prometheusRule/runbookURL': 'docs/reference/alerts.md' does not match pattern",
		},
		"documents without the place of the page": {
			set:  `docsURL="https://docs.example.com"`,
			want: "at '/docsURL': 'https://docs.example.com' does not match pattern",
		},
		"a label with a value": {
			set:  `controller.teamLabels=["team=shop"]`,
			want: "at '/controller/teamLabels/0': 'team=shop' does not match pattern",
		},
		"no replicas": {
			set:  `webhook.deployment.replicas=0`,
			want: "at '/webhook/deployment/replicas': minimum: got 0, want 1",
		},
		"replicas as text": {
			set:  `webhook.deployment.replicas="2"`,
			want: "at '/webhook/deployment/replicas': got string, want integer",
		},
		"an unknown failure policy": {
			set:  `webhook.failurePolicy="fail"`,
			want: "at '/webhook/failurePolicy': value must be one of 'Fail', 'Ignore'",
		},
		"a timeout that Kubernetes refuses": {
			set:  `webhook.timeoutSeconds=31`,
			want: "at '/webhook/timeoutSeconds': maximum: got 31, want 30",
		},
		"a webhook without TLS": {
			set:  `webhook.url="http://127.0.0.1:9443"`,
			want: "at '/webhook/url': 'http://127.0.0.1:9443' does not match pattern",
		},
		"a webhook with a path": {
			set:  `webhook.url="https://127.0.0.1:9443/mutate"`,
			want: "at '/webhook/url': 'https://127.0.0.1:9443/mutate' does not match pattern",
		},
		"nobody to answer": {
			set:  `webhook.deployment.enabled=false`,
			want: "at '/webhook/url': minLength: got 0, want 1",
		},
		"an invalid selector": {
			set:  `webhook.namespaceSelector={"names": ["project"]}`,
			want: "at '/webhook/namespaceSelector': additional properties 'names' not allowed",
		},
		"an unknown operator": {
			set:  `webhook.namespaceSelector={"matchExpressions": [{"key": "a", "operator": "Is"}]}`,
			want: "at '/webhook/namespaceSelector/matchExpressions/0/operator': value must be one of",
		},
		"a duration without unit": {
			set:  `controller.targetRetention="10"`,
			want: "at '/controller/targetRetention': '10' does not match pattern",
		},
		"a duration as number": {
			set:  `webhook.deployment.shutdownDelay=10`,
			want: "at '/webhook/deployment/shutdownDelay': got number, want string",
		},
		"a warning without unit": {
			set:  `controller.expiryWarnings=["30d"]`,
			want: "at '/controller/expiryWarnings/0': '30d' does not match pattern",
		},
		"another word for verification": {
			set:  `controller.verifyTargets="some"`,
			want: "at '/controller/verifyTargets': value must be one of 'off', 'marked', 'all', false",
		},
		"no warnings at all": {
			set:  `controller.expiryWarnings=[]`,
			want: "at '/controller/expiryWarnings': minItems: got 0, want 1",
		},
		"an alert at no time before the end": {
			set:  `prometheusRule.expiresWarningDays=0`,
			want: "at '/prometheusRule/expiresWarningDays': exclusiveMinimum: got 0, want 0",
		},
		"an alert after a time without unit": {
			set:  `prometheusRule.invalidFor="5"`,
			want: "at '/prometheusRule/invalidFor': '5' does not match pattern",
		},
		"an alert after a time that is empty": {
			set:  `prometheusRule.invalidFor=""`,
			want: "at '/prometheusRule/invalidFor': minLength: got 0, want 1",
		},
		"a runbook with a heading": {
			set:  `prometheusRule.runbookURL="https://example.com/#alerts"`,
			want: "at '/prometheusRule/runbookURL': 'https://example.com/#alerts' does not match pattern",
		},
		"an invalid digest": {
			set:  `image.digest="latest"`,
			want: "at '/image/digest': 'latest' does not match pattern",
		},
		"an empty repository": {
			set:  `image.repository=""`,
			want: "image.repository is empty, and no image of this project is published yet, so build one with make image",
		},
		"an unknown pull policy": {
			set:  `image.pullPolicy="Sometimes"`,
			want: "at '/image/pullPolicy': value must be one of",
		},
		"no account of the webhook": {
			set:  `webhook.serviceAccount.create=false`,
			want: "at '/webhook/serviceAccount/name': minLength: got 0, want 1",
		},
		"no account of the controller": {
			set:  `controller.serviceAccount.create=false`,
			want: "at '/controller/serviceAccount/name': minLength: got 0, want 1",
		},
		"no replicas of the controller": {
			set:  `controller.deployment.replicas=0`,
			want: "at '/controller/deployment/replicas': minimum: got 0, want 1",
		},
		"a delay of a controller that stops": {
			set:  `controller.deployment.shutdownDelay="10s"`,
			want: "at '/controller/deployment': additional properties 'shutdownDelay' not allowed",
		},
		"a Deployment of no process": {
			set:  `deployment.replicas=3`,
			want: "deployment is not a value of this chart: write webhook.deployment and controller.deployment",
		},
		"a name that Kubernetes refuses": {
			set:  `fullnameOverride="My_Webhook"`,
			want: "at '/fullnameOverride': 'My_Webhook' does not match pattern",
		},
		"an unknown provider": {
			set:  `servingCertificate.provider="vault"`,
			want: "at '/servingCertificate/provider': value must be one of 'embedded', 'cert-manager'",
		},
		"an issuer without a name": {
			set:  `servingCertificate.issuerRef={"kind": "ClusterIssuer"}`,
			want: "at '/servingCertificate/issuerRef': missing property 'name'",
		},
		"a duration in days": {
			set:  `servingCertificate.duration="7d"`,
			want: "at '/servingCertificate/duration': '7d' does not match pattern",
		},
		"a glob in place of the last label": {
			set:  `policy.allowedTargets=["bank.*"]`,
			want: "at '/policy/allowedTargets/0': 'bank.*' does not match pattern",
		},
		"a URL in place of a host": {
			set:  `policy.allowedTargets=["https://a.example"]`,
			want: "at '/policy/allowedTargets/0': 'https://a.example' does not match pattern",
		},
		"a part of a label": {
			set:  `policy.allowedTargets=["api-*.a.example"]`,
			want: "at '/policy/allowedTargets/0': 'api-*.a.example' does not match pattern",
		},
		"a host with a port": {
			set:  `policy.allowedTargets=["a.example:443"]`,
			want: "at '/policy/allowedTargets/0': 'a.example:443' does not match pattern",
		},
		"a list of hosts as one text": {
			set:  `policy.allowedTargets="a.example,b.example"`,
			want: "at '/policy/allowedTargets': got string, want array",
		},
		"another word for denying": {
			set:  `policy.otherTargets="deny"`,
			want: "at '/policy/otherTargets': value must be one of 'Allow', 'Deny'",
		},
		"an unknown log level":  {set: `log.level="trace"`, want: "at '/log/level': value must be one of"},
		"an unknown log format": {set: `log.format="yaml"`, want: "at '/log/format': value must be one of"},
		"a boolean as text": {
			set:  `rbac.aggregate="yes"`,
			want: "at '/rbac/aggregate': got string, want boolean",
		},
		"no mesh configuration": {
			set:  `istio.meshConfigMap=""`,
			want: "at '/istio/meshConfigMap': '' does not match pattern",
		},
		"a mesh configuration with its key": {
			set:  `istio.meshConfigMap="istio/mesh"`,
			want: "at '/istio/meshConfigMap': 'istio/mesh' does not match pattern",
		},
		"an empty root namespace": {
			set:  `istio.rootNamespace=""`,
			want: "at '/istio/rootNamespace': minLength: got 0, want 1",
		},
		"arguments as one text": {
			set:  `webhook.deployment.extraArgs="--log-level=debug"`,
			want: "at '/webhook/deployment/extraArgs': got string, want array",
		},
		"a pull secret by its name alone": {
			set:  `imagePullSecrets=["registry"]`,
			want: "at '/imagePullSecrets/0': got string, want object",
		},
		"a label that is no text": {
			set:  `webhook.deployment.podLabels={"team": 1}`,
			want: "at '/webhook/deployment/podLabels/team': got number, want string",
		},
		"a policy switched off with a number": {
			set:  `policy.requirePropagated=0`,
			want: "at '/policy/requirePropagated': got number, want boolean",
		},
		"a check switched off with another word": {
			set:  `uninstall.refuseWhileInUse="no"`,
			want: "at '/uninstall/refuseWhileInUse': got string, want boolean",
		},
		"an image with its tag": {
			set:  `image.repository="registry.example/mtls-egress-webhook:1"`,
			want: "at '/image/repository': 'registry.example/mtls-egress-webhook:1' does not match pattern",
		},
		"a label of all objects that is no text": {
			set:  `commonLabels={"team": 1}`,
			want: "at '/commonLabels/team': got number, want string",
		},
		"a history of fewer than none": {
			set:  `webhook.deployment.revisionHistoryLimit=-1`,
			want: "at '/webhook/deployment/revisionHistoryLimit': minimum: got -1, want 0",
		},
		"a variable without name": {
			set:  `webhook.deployment.extraEnv=[{"value": "a"}]`,
			want: "at '/webhook/deployment/extraEnv/0': missing property 'name'",
		},
		"variables as a mapping": {
			set:  `webhook.deployment.extraEnv={"GODEBUG": "a"}`,
			want: "at '/webhook/deployment/extraEnv': got object, want array",
		},
		"a budget that is not a number": {
			set:  `webhook.podDisruptionBudget.minAvailable="half"`,
			want: "at '/webhook/podDisruptionBudget/minAvailable': 'half' does not match pattern",
		},
		"a budget of fewer than none": {
			set:  `controller.podDisruptionBudget.maxUnavailable=-1`,
			want: "at '/controller/podDisruptionBudget/maxUnavailable': minimum: got -1, want 0",
		},
		"a peer by its address alone": {
			set:  `networkPolicy.webhookFrom=["10.0.0.1"]`,
			want: "at '/networkPolicy/webhookFrom/0': got string, want object",
		},
		"a peer that is everybody": {
			set:  `networkPolicy.metricsFrom=[{}]`,
			want: "at '/networkPolicy/metricsFrom/0': minProperties: got 0, want 1",
		},
		"an unknown peer": {
			set:  `networkPolicy.metricsFrom=[{"cidr": "10.0.0.0/8"}]`,
			want: "at '/networkPolicy/metricsFrom/0': additional properties 'cidr' not allowed",
		},
		"egress to an unknown peer": {
			set:  `networkPolicy.controllerEgress=[{"to": [{"host": "a"}]}]`,
			want: "at '/networkPolicy/controllerEgress/0/to/0': additional properties 'host' not allowed",
		},
		"an interval without unit": {
			set:  `serviceMonitor.interval="30"`,
			want: "at '/serviceMonitor/interval': '30' does not match pattern",
		},
		"a time to scrape as a number": {
			set:  `serviceMonitor.scrapeTimeout=5`,
			want: "at '/serviceMonitor/scrapeTimeout': got number, want string",
		},
		"relabelings as a mapping": {
			set:  `serviceMonitor.relabelings={"action": "drop"}`,
			want: "at '/serviceMonitor/relabelings': got object, want array",
		},
		"a test in no namespace": {
			set:  `test.namespace=""`,
			want: "at '/test/namespace': minLength: got 0, want 1",
		},
		"a test of no target": {
			set:  `test.target=""`,
			want: "at '/test/target': minLength: got 0, want 1",
		},
		"an exempt namespace as text": {
			set:  `policy.exemptNamespaces="shop"`,
			want: "at '/policy/exemptNamespaces': got string, want array",
		},
		"an exempt namespace as a number": {
			set:  `policy.exemptNamespaces=[2024]`,
			want: "at '/policy/exemptNamespaces/0': got number, want string",
		},
		"an exempt namespace twice": {
			set:  `policy.exemptNamespaces=["shop", "shop"]`,
			want: "at '/policy/exemptNamespaces': items at 0 and 1 are equal",
		},
		"a pattern of namespaces": {
			set:  `policy.exemptNamespaces=["shop", "shop-*"]`,
			want: "at '/policy/exemptNamespaces/1': 'shop-*' does not match pattern",
		},
		"a namespace that ends in a hyphen": {
			set:  `policy.exemptNamespaces=["shop-"]`,
			want: "at '/policy/exemptNamespaces/0': 'shop-' does not match pattern",
		},
		"a namespace without a name": {
			set:  `policy.exemptNamespaces=[""]`,
			want: "at '/policy/exemptNamespaces/0': '' does not match pattern",
		},
		"a namespace that is an expression": {
			set:  `policy.exemptNamespaces=["a\"] + [request.namespace] + [\"b"]`,
			want: "at '/policy/exemptNamespaces/0': ",
		},
		"a namespace with too long a name": {
			set:  `policy.exemptNamespaces=["` + strings.Repeat("a", 64) + `"]`,
			want: "at '/policy/exemptNamespaces/0': maxLength: got 64, want 63",
		},
		"a policy switched off with another word": {
			set:  `policy.requireInjected="off"`,
			want: "at '/policy/requireInjected': got string, want boolean",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems, err := template(t, release, "--set-json", test.set)
			if err == nil {
				t.Fatal("the chart takes it")
			}
			if !strings.Contains(problems, test.want) {
				t.Errorf("the message does not say %q:\n%s", test.want, problems)
			}
		})
	}
}
