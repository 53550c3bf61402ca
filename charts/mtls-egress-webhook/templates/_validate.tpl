{{- /*
What is wrong with the values and can't be in their schema, as a list of sentences. validate.yaml
fails with all of them.
*/}}
{{- define "mtls-egress-webhook.problems" -}}
{{- $problems := concat
  (include "mtls-egress-webhook.hintProblems" . | fromYamlArray)
  (include "mtls-egress-webhook.imageProblems" . | fromYamlArray)
  (include "mtls-egress-webhook.commonProblems" . | fromYamlArray)
  (include "mtls-egress-webhook.portProblems" . | fromYamlArray) }}
{{- range $component := list "webhook" "controller" }}
{{- $problems = concat $problems (include "mtls-egress-webhook.processProblems" (dict "top" $ "component" $component) | fromYamlArray) }}
{{- end }}
{{- if and (hasKey .Values "enabled") (not .Values.enabled) }}
{{- $problems = append $problems (printf "enabled is false, which has an effect only as the condition of a dependency: write condition: %s.enabled in the Chart.yaml of the parent chart, or run helm uninstall, which first checks that no workload needs the webhook" .Chart.Name) }}
{{- end }}
{{- toYaml $problems }}
{{- end }}

{{- /* Names that users know from other charts. */}}
{{- define "mtls-egress-webhook.hintProblems" -}}
{{- $problems := list }}
{{- $path := "files/hints.yaml" }}
{{- range $pattern, $hint := .Files.Get $path | required (printf "%s is missing" $path) | fromYaml }}
{{- range $process := ternary (list "webhook" "controller") (list "") (hasPrefix "*." $pattern) }}
{{- $value := replace "*" $process $pattern }}
{{- $section := $.Values }}
{{- $names := splitList "." $value }}
{{- range initial $names }}
{{- $section = get $section . | default dict }}
{{- end }}
{{- if hasKey $section (last $names) }}
{{- $problems = append $problems (printf "%s is not a value of this chart: %s" $value (replace "*" $process $hint)) }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $problems }}
{{- end }}

{{- define "mtls-egress-webhook.imageProblems" -}}
{{- if and (not .Values.image.repository) (or .Values.webhook.deployment.enabled .Values.controller.deployment.enabled) }}
- image.repository is empty, and no image of this project is published yet, so build one with make image, push it to your registry, and set image.repository to its name there and image.tag to its tag
{{- else }}
[]
{{- end }}
{{- end }}

{{- /*
Kubernetes, Helm and the webhook act on these, so one that is meant for a single object must not reach
all. With the label of an aggregated role, users would have the rights of the controller.
*/}}
{{- define "mtls-egress-webhook.commonProblems" -}}
{{- $problems := list }}
{{- range $name, $prefixes := dict "commonAnnotations" "helm\\.sh|mtls\\.egress" "commonLabels" "rbac\\.authorization\\.k8s\\.io|(to\\.)?mtls\\.egress" }}
{{- range $key, $_ := get $.Values $name | default dict }}
{{- if regexMatch (printf "^(%s)/" $prefixes) $key }}
{{- $problems = append $problems (printf "%s has %s, which would change what the objects do: remove it" $name $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $problems }}
{{- end }}

{{- define "mtls-egress-webhook.portProblems" -}}
{{- $problems := list }}
{{- with .Values.webhook }}
{{- if not (and .port .metricsPort .healthPort) }}
{{- $problems = append $problems "webhook.port, webhook.metricsPort or webhook.healthPort is missing: write a port, or, if an upgrade with --reuse-values has kept the values of an older version of the chart, write --reset-then-reuse-values" }}
{{- else if ne 3 (list (int .port) (int .metricsPort) (int .healthPort) | uniq | len) }}
{{- $problems = append $problems (printf "webhook.port, webhook.metricsPort and webhook.healthPort are %d, %d and %d: write three different ports" (int .port) (int .metricsPort) (int .healthPort)) }}
{{- end }}
{{- if .deployment.hostNetwork }}
{{- range list .port .metricsPort .healthPort }}
{{- if and (ge (int .) 10248) (le (int .) 10259) }}
{{- $problems = append $problems (printf "webhook.deployment.hostNetwork is true, and a port of the webhook is %d, one of those that Kubernetes itself uses on nodes (10248 to 10259): write another port" (int .)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $problems }}
{{- end }}

{{- /*
The policies of the chart and the arguments of the processes come from the same values. An argument
that contradicts a policy would open a gap that nobody sees. Therefore arguments and variables that
the chart sets can't be set a second time.
*/}}
{{- define "mtls-egress-webhook.processProblems" -}}
{{- $deployment := (get .top.Values .component).deployment }}
{{- $path := printf "%s.deployment" .component }}
{{- $taken := dict }}
{{- range concat (include "mtls-egress-webhook.args" . | fromYamlArray)
  (list "--allowed-targets" "--allowed-endpoints" "--ca-secret" "--serving-certificate-dir" "--client-ca-file") }}
{{- $_ := set $taken (splitList "=" . | first) true }}
{{- end }}
{{- $problems := list }}
{{- range $deployment.extraArgs }}
{{- $flag := splitList "=" . | first }}
{{- if hasKey $taken $flag }}
{{- $problems = append $problems (printf "%s.extraArgs has %s, which the chart sets from its values: change the value, and remove the argument" $path $flag) }}
{{- end }}
{{- end }}
{{- range $deployment.extraVolumes }}
{{- if has .name (list "token" "serving-certificate" "client-ca") }}
{{- $problems = append $problems (printf "%s.extraVolumes has %s, which is the name of a volume of the chart: write another name" $path .name) }}
{{- end }}
{{- end }}
{{- $rolling := ($deployment.strategy | default dict).rollingUpdate | default dict }}
{{- if and (ne "Recreate" ($deployment.strategy | default dict).type) (has ($rolling.maxSurge | toString) (list "0" "0%")) (has ($rolling.maxUnavailable | toString) (list "0" "0%")) }}
{{- $problems = append $problems (printf "%s.strategy.rollingUpdate has maxSurge and maxUnavailable 0, with which no Pod can be replaced: write 1 for one of them" $path) }}
{{- end }}
{{- range $deployment.extraEnv }}
{{- if has .name (list "POD_NAMESPACE" "POD_IPS") }}
{{- $problems = append $problems (printf "%s.extraEnv has %s, which the chart sets: remove it" $path .name) }}
{{- end }}
{{- end }}
{{- toYaml $problems }}
{{- end }}
