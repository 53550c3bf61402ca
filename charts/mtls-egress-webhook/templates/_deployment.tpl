{{- /*
The Deployment of one of the two processes. Each process has a template with its own part: args,
ports, mounts and volumes.
*/}}
{{- define "mtls-egress-webhook.deployment" -}}
{{- $deployment := (get .top.Values .component).deployment -}}
{{- $part := printf "mtls-egress-webhook.%s" .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "mtls-egress-webhook.componentMetadata" (merge (dict "annotations" $deployment.annotations) .) | nindent 2 }}
spec:
  replicas: {{ $deployment.replicas }}
  revisionHistoryLimit: {{ $deployment.revisionHistoryLimit }}
  selector:
    matchLabels:
      {{- include "mtls-egress-webhook.componentSelectorLabels" . | nindent 6 }}
  {{- with $deployment.strategy }}
  strategy:
    {{- /* The API server rejects rollingUpdate, which is in the defaults, with Recreate. */}}
    {{- eq .type "Recreate" | ternary (dict "type" "Recreate") . | toYaml | nindent 4 }}
  {{- end }}
  template:
    metadata:
      labels:
        {{- $own := dict "sidecar.istio.io/inject" "false" }}
        {{- $labels := merge $own (include "mtls-egress-webhook.componentLabels" (merge (dict "labels" $deployment.podLabels) .) | fromYaml) }}
        {{- toYaml $labels | nindent 8 }}
      {{- with $deployment.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "mtls-egress-webhook.serviceAccount" . }}
      # The token is mounted explicitly below.
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with include "mtls-egress-webhook.imagePullSecrets" .top }}
      {{- . | indent 6 }}
      {{- end }}
      {{- with $deployment.runtimeClassName }}
      runtimeClassName: {{ . }}
      {{- end }}
      {{- if $deployment.hostNetwork }}
      hostNetwork: true
      {{- end }}
      {{- with $deployment.dnsPolicy | default (ternary "ClusterFirstWithHostNet" "" ($deployment.hostNetwork | default false)) }}
      dnsPolicy: {{ . }}
      {{- end }}
      {{- with $deployment.dnsConfig }}
      dnsConfig:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $deployment.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      terminationGracePeriodSeconds: {{ $deployment.terminationGracePeriodSeconds }}
      securityContext:
        {{- toYaml $deployment.podSecurityContext | nindent 8 }}
      containers:
      - name: {{ .component }}
        image: {{ include "mtls-egress-webhook.image" .top | quote }}
        imagePullPolicy: {{ .top.Values.image.pullPolicy }}
        args:
        - serve
        - {{ .component }}
        {{- include "mtls-egress-webhook.args" . | nindent 8 }}
        {{- range $deployment.extraArgs }}
        - {{ . | quote }}
        {{- end }}
        env:
        - name: POD_NAMESPACE
          valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
        - name: POD_IPS
          valueFrom: {fieldRef: {fieldPath: status.podIPs}}
        {{- $extra := dict }}
        {{- range $deployment.extraEnv }}
        {{- $_ := set $extra .name true }}
        {{- end }}
        {{- if not $extra.GOMEMLIMIT }}
        # The garbage collector runs more often near the memory limit.
        - name: GOMEMLIMIT
          valueFrom: {resourceFieldRef: {resource: limits.memory}}
        {{- end }}
        {{- with $deployment.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        ports:
        {{- with include (printf "%s.ports" $part) .top | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- $process := get .top.Values .component }}
        - {name: metrics, containerPort: {{ $process.metricsPort | default 8080 }}, protocol: TCP}
        - {name: health, containerPort: {{ $process.healthPort | default 8081 }}, protocol: TCP}
        livenessProbe:
          {{- merge (dict "httpGet" (dict "path" "/healthz" "port" "health")) ($deployment.livenessProbe | default dict) | toYaml | nindent 10 }}
        readinessProbe:
          {{- merge (dict "httpGet" (dict "path" "/readyz" "port" "health")) ($deployment.readinessProbe | default dict) | toYaml | nindent 10 }}
        resources:
          {{- toYaml $deployment.resources | nindent 10 }}
        securityContext:
          {{- toYaml $deployment.containerSecurityContext | nindent 10 }}
        volumeMounts:
        - {{ include "mtls-egress-webhook.tokenMount" .top | indent 10 | trim }}
        {{- with include (printf "%s.volumeMounts" $part) .top | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $deployment.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
      - {{ include "mtls-egress-webhook.tokenVolume" .top | indent 8 | trim }}
      {{- with include (printf "%s.volumes" $part) .top | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with $deployment.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- with $deployment.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $deployment.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $deployment.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
      {{- if kindIs "invalid" $deployment.topologySpreadConstraints }}
      {{- $selector := include "mtls-egress-webhook.componentSelectorLabels" . }}
      {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
      - topologyKey: {{ . }}
        maxSkew: 1
        whenUnsatisfiable: ScheduleAnyway
        # Count only the Pods of the new ReplicaSet. Otherwise an update ends with an uneven spread.
        matchLabelKeys: [pod-template-hash]
        labelSelector:
          matchLabels:
            {{- $selector | nindent 12 }}
      {{- end }}
      {{- else }}
        {{- toYaml $deployment.topologySpreadConstraints | nindent 8 }}
      {{- end }}
{{- end }}

{{- /* The arguments of one of the two processes that the chart sets. */}}
{{- define "mtls-egress-webhook.args" -}}
{{- $process := get .top.Values .component }}
{{- include (printf "mtls-egress-webhook.%s.args" .component) .top }}
- --metrics-address=:{{ $process.metricsPort | default 8080 }}
- --health-address=:{{ $process.healthPort | default 8081 }}
{{- include "mtls-egress-webhook.sharedArgs" .top | nindent 0 }}
{{- end }}

{{- define "mtls-egress-webhook.sharedArgs" -}}
- --namespace=$(POD_NAMESPACE)
{{- with .Values.policy.allowedTargets }}
- {{ printf "--allowed-targets=%s" (join "," .) | quote }}
{{- end }}
- --other-targets={{ .Values.policy.otherTargets }}
{{- with .Values.policy.allowedEndpoints }}
- {{ printf "--allowed-endpoints=%s" (join "," .) | quote }}
{{- end }}
- --cluster-domain={{ .Values.clusterDomain }}
- --sinkhole-ranges={{ join "," .Values.sinkholeRanges }}
- --pod-ips=$(POD_IPS)
- --mesh-config={{ .Values.istio.meshConfigMap }}
- --root-namespace={{ .Values.istio.rootNamespace }}
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
{{- end }}
